"""Tests of the section on heads: scores and times of students that differ only in their number of heads."""

import pandas as pd
import pytest

from harness.reporting import report
from harness.storage.plan_file import EncoderShape
from tests.support.grid_factory import made, row, section, table
from tests.support.latency_factory import SETTINGS, latency_record
from tests.support.results_factory import CPU, GPU, size, teacher_record

ROWS = {"kd": row(0, plain=True), "other": row(1, method="other", plain=True)}
SHAPES = {
    "base": EncoderShape(layers=12, hidden=768, heads=12, ffn=3072),
    "small": EncoderShape(layers=6, hidden=768, heads=3, ffn=3072, init="uniform of pretrained"),
    "big": EncoderShape(layers=6, hidden=768, heads=12, ffn=3072, init="uniform of pretrained"),
}
SCORES = {
    ("sst2", "kd", "small"): [0.79, 0.80, 0.81],
    ("rte", "kd", "small"): [0.59, 0.60, 0.61],
    ("sst2", "kd", "big"): [0.80, 0.82, 0.84],
    ("rte", "kd", "big"): [0.60, 0.60, 0.60],
    ("sst2", "other", "small"): [0.70, 0.70, 0.70],
    ("rte", "other", "small"): [0.50, 0.50, 0.50],
}
TITLE = "Number of heads: 6 layers, hidden 768"


def measured(key="k1", hardware=CPU, **changes):
    """Return a measurement: at batch 1 base takes 8 ms, big 4 and small 2; at batch 8 eight times as much."""
    times = {"base": 8_000_000, "big": 4_000_000, "small": 2_000_000, "small (second copy)": 2_000_000}
    return latency_record(key, times=times, hardware=hardware, **changes)


def store_with_latency(folder):
    """Return the store of a suite that measures latency, with its teacher completed."""
    store = made(folder, ROWS, SCORES, shapes=SHAPES, latency=SETTINGS, teachers={"base": {"sst2": "base-sst2"}})
    store.save_teacher(teacher_record("sst2"))
    return store


def shown(folder):
    return section(report(folder).markdown, TITLE)


def test_scores_by_hand(tmp_path):
    made(tmp_path, ROWS, SCORES, shapes=SHAPES)
    # small - big with kd, seed by seed: of sst2 -1, -2, -3, of rte -1, 0, 1. Each student has the variance of its own
    # seeds: the interval is that of these three numbers, with 2 degrees of freedom.
    assert table(shown(tmp_path)) == [
        ["method", "heads", "student", "average", "difference", "sst2", "rte"],
        ["*kd*", "*12*", "*big*", "71.0", "*reference*", "", ""],
        ["kd", "3", "small", "70.0", "-1.0 [-2.1, +0.1]", "-2.0 [-4.5, +0.5]", "0.0 [-2.5, +2.5]"],
        ["other", "3", "small", "60.0", "–", "–", "–"],
    ]
    assert "not measured: the suite has no `latency` section" in shown(tmp_path)
    frame = pd.read_csv(tmp_path / "sections" / "heads.csv").set_index(["label", "heads", "scope"])
    assert frame.loc["kd", 3, "average"]["difference"] == pytest.approx(-1)


def test_speed_ups_are_paired_by_round(tmp_path):
    store = store_with_latency(tmp_path)
    assert "Their latency is not measured yet." in shown(tmp_path)
    store.save_latency(measured())
    text = shown(tmp_path)
    assert "not measured" not in text
    assert table(text[text.index("### Time, cpu, Test CPU") :]) == [
        ["backend", "batch", "tokens", "big, 12 heads (ms)", "over base", "small, 3 heads"],
        ["eager", "1", "32", "4.00", "2.00× [2.00, 2.00]", "2.00× [2.00, 2.00]"],
        ["eager", "8", "32", "32.0", "2.00× [2.00, 2.00]", "2.00× [2.00, 2.00]"],
    ]
    frame = pd.read_csv(tmp_path / "sections" / "heads.csv")
    times = frame[frame["scope"] == "speed-up over big"].set_index(["heads", "batch_size"])
    assert times.loc[(3, 8), "mean"] == 2
    assert times.loc[(12, 8), "mean"] == 1


def test_each_machine_has_its_own_table(tmp_path):
    store = store_with_latency(tmp_path)
    store.save_latency(measured())
    store.save_latency(measured("k2", GPU))
    assert shown(tmp_path).count("### Time, ") == 2


def test_unplanned_measurements_are_ignored(tmp_path):
    store = store_with_latency(tmp_path)
    store.save_latency(measured(settings=SETTINGS.model_copy(update={"rounds": 11}), rounds=11))
    assert "### Time" not in shown(tmp_path)


def test_times_of_another_architecture_are_ignored(tmp_path):
    store = store_with_latency(tmp_path)
    store.save_latency(measured(sizes={"big": size("big").model_copy(update={"heads": 16})}))
    assert "### Time" not in shown(tmp_path)
    store.save_latency(measured("k2"))
    assert shown(tmp_path).count("### Time") == 1


@pytest.mark.parametrize(
    "changes", [{"heads": 12}, {"layers": 4}, {"hidden": 384}, {"ffn": 1}, {"init": "random of pretrained"}]
)
def test_students_that_differ_in_more_are_not_compared(tmp_path, changes):
    shapes = SHAPES | {"small": SHAPES["small"].model_copy(update=changes)}
    made(tmp_path, ROWS, SCORES, shapes=shapes)
    assert "Number of heads" not in report(tmp_path).markdown


def test_missing_results_are_named_with_the_student(tmp_path):
    made(tmp_path, ROWS, SCORES | {("rte", "kd", "big"): [0.6, None, 0.6]}, shapes=SHAPES)
    assert table(shown(tmp_path))[1][3] == "missing"
    assert table(shown(tmp_path))[2][3:5] == ["70.0", "–"]
    assert "Rows with missing results: `kd on big` (missing on rte)." in shown(tmp_path)
