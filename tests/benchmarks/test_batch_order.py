"""The comparison of random, grouped and bucketed batches from stored runs."""

from __future__ import annotations

import pandas as pd
import pytest
import typer
from scipy import stats
from typer.testing import CliRunner

from benchmarks import batch_order
from harness.api.errors import UserError
from harness.resolution import load
from harness.storage.store import Store
from tests.support.results_factory import failed, plan, run_record

RANDOM, GROUPED = [0.70, 0.72, 0.71], [0.72, 0.71, 0.75]


def stored(folder, batching, values):
    store = Store(folder / batching)
    store.save_plan(plan())
    parts = {"training": {"batch_size": 16, "batching": batching}}
    for seed, score in enumerate(values, start=1):
        store.save(run_record(seed=seed, score=score, parts=parts))
    store.save(failed("sst2", "kd", "big", 9))
    return store.folder


@pytest.fixture
def folders(tmp_path):
    return [stored(tmp_path, "grouped", GROUPED), stored(tmp_path, "random", RANDOM)]


def test_every_completed_run_is_a_line_in_percent_random_batches_first(folders):
    runs = batch_order.scores(folders)
    assert runs["score"].tolist() == [70, 72, 71, 72, 71, 75]
    assert runs["batching"].tolist() == ["random"] * 3 + ["grouped"] * 3
    assert runs[batch_order.SETTING].drop_duplicates().values.tolist() == [["sst2", "kd", 100, 16]]


def test_runs_are_added_to_those_of_an_earlier_call(folders, tmp_path):
    first, second = (batch_order.scores(found) for found in (folders[:1], folders))
    first.to_csv(tmp_path / "batch-order.csv", index=False)
    pd.testing.assert_frame_equal(batch_order.scores([tmp_path / "batch-order.csv", *folders[1:]]), second)


def cells(folders):
    """The cells of the only line of the table from the column `random` on."""
    (line,) = batch_order.table(batch_order.scores(folders)).splitlines()[2:]
    return [cell.strip() for cell in line.split("|")[5:-1]]


def test_differences_have_the_interval_of_welch(folders):
    low, high = stats.ttest_ind([72, 71, 75], [70, 72, 71], equal_var=False).confidence_interval()
    assert cells(folders) == ["71.0 ± 1.0 (3)", f"+1.7 [{low:+.1f}, {high:+.1f}] (3)", ""]


def test_one_run_has_no_deviation_and_no_interval(tmp_path):
    random, bucketed = stored(tmp_path, "random", RANDOM), stored(tmp_path, "bucketed", [0.6])
    assert cells([random, bucketed]) == ["71.0 ± 1.0 (3)", "", "-11.0 (1)"]
    assert cells([bucketed]) == ["", "", ""]


def test_runs_of_one_setting_and_seed_are_refused(folders):
    with pytest.raises(UserError, match=r"two runs of one setting, batches and seed: .*'seed': 1"):
        batch_order.scores([*folders, folders[0]])


def test_the_command_writes_the_scores_and_the_table(folders, tmp_path):
    out = tmp_path / "out"
    app = typer.Typer()
    app.command()(batch_order.run)
    done = CliRunner().invoke(app, [*map(str, folders), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert len(pd.read_csv(out / "batch-order.csv")) == 6
    assert done.stdout.strip() in (out / "batch-order.md").read_text()
    assert CliRunner().invoke(app, [str(tmp_path / "absent")]).exit_code == 2


def test_the_suite_is_valid():
    suite = load(batch_order.HERE / "batch_order.yaml").suite
    assert [task.name for task in suite.tasks] == ["stsb", "sst2", "mrpc", "rte"]
