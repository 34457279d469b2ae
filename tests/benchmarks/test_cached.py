"""The benchmark `cached`: another seed with cached teacher outputs."""

import pandas as pd
import pytest

from benchmarks import cached
from harness.execution import teacher_cache
from tests.support.hub_layout import write_dataset


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    texts = [" ".join(["good", "bad", "film"][i % 3 :] * (1 + i % 3)) for i in range(20)]
    rows = pd.DataFrame({"sentence": texts, "label": [i % 2 for i in range(20)], "idx": range(20)})
    return str(write_dataset(tmp_path / "glue", {"sst2": {"train": rows, "validation": rows}}))


def test_ratios_are_relative_to_the_warm_cache():
    times = {"x: cold": [30, 50], "x: warm": [10, 20], "x: none": [20, 10]}
    assert [(row.what, row.ratios) for row in cached.rows(times, "x")] == [
        ("x: cold / warm", [3.0, 2.5]),
        ("x: none / warm", [2.0, 0.5]),
    ]


def test_one_run_and_several_are_measured_with_every_state_of_the_cache(options, data):
    measured = cached.measure(options(data=data), lambda line: None)
    names = [f"4x24 -> 2x12, {runs}" for runs in ("1 run on logits", "2 runs")]
    assert [row.what for row in measured.rows] == [f"{n}: {s} / warm" for n in names for s in ("cold", "none")]
    assert set(measured.times) == {f"{n}: {s}" for n in names for s in ("cold", "warm", "none")}


def test_a_teacher_that_runs_despite_a_warm_cache_is_detected(options, data, monkeypatch):
    with cached._temporary_cache() as folder:
        suite = cached.Suite(folder, options(data=data), "2x12", cached.entries()[:1])
        suite.check()
        assert teacher_cache.root().is_relative_to(folder)
        warm, none = (suite.execute(suite.planned(2, cache=cache)) for cache in (True, False))
        assert [record.cost.teacher_forwards for record in (*warm, *none)] == [0, 3]
        planned = suite.planned
        monkeypatch.setattr(suite, "planned", lambda seed: planned(seed, cache=False))
        with pytest.raises(RuntimeError, match="the teacher ran despite a warm cache"):
            suite.check()
