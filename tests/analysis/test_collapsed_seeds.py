"""Detection of collapsed seeds, and none for methods that are only weak or noisy."""

import json

import numpy as np
import pytest

from harness.analysis.aggregate import summarize
from harness.analysis.collapsed_seeds import find_collapsed
from harness.analysis.inference import Sample
from harness.analysis.score_intervals import interval
from harness.reporting import report
from tests.support.results_factory import SQUAD, SST2, answers, fill, plan, run_key, run_record


def drawn(values, shared=1.0, anew=1.0, examples=400):
    """Scores with resamples; `common` and `own` are the standard deviations of shared and separate effects."""
    random, values = np.random.default_rng(len(values)), np.array(values, dtype=float)
    draws = values + shared * random.normal(size=(500, 1)) + anew * random.normal(size=(500, len(values)))
    return Sample(tuple(range(1, len(values) + 1)), values, draws, examples)


def test_a_seed_at_a_constant_answer_is_detected():
    assert find_collapsed([drawn([40.0, 0.5, 42.0])], 0.0) == [(2,)]
    assert find_collapsed([drawn([40.0, 0.5, 42.0])], None) == [()], "three scores alone do not tell"
    assert find_collapsed([drawn([60.0, 99.5, 58.0])], 100.0, higher_is_better=False) == [(2,)]


def test_a_method_at_the_constant_answer_in_all_seeds_has_not_collapsed():
    assert find_collapsed([drawn([50.2, 49.8, 50.1])], 50.0) == [()]


def test_a_weak_method_has_not_collapsed():
    """One seed is within a standard error of the constant answer, the others are slightly better."""
    assert find_collapsed([drawn([51.0, 53.0, 55.0], shared=2, anew=2)], 50.0) == [()]


def test_an_outlier_is_detected_by_the_spread_of_other_rows():
    usual = [drawn(80 + np.random.default_rng(row).normal(0, 1, size=3)) for row in range(5)]
    assert find_collapsed([*usual, drawn([80.0, 62.0, 81.0])], None) == [()] * 5 + [(2,)]
    assert find_collapsed([*usual, drawn([80.0, 77.0, 82.0])], None) == [()] * 6


def test_normal_scores_are_rarely_outliers():
    """On at most 1 % of tasks with equal variances; 300 are simulated."""
    random = np.random.default_rng(0)
    marked = 0
    for _ in range(300):
        rows = [Sample((1, 2, 3), random.normal(80, 2, size=3)) for _ in range(8)]
        marked += any(find_collapsed(rows, None))
    assert marked <= 8


def test_the_interval_of_collapsed_seeds_covers_too_little():
    """The reason for the mark: a quarter of the seeds is at 0, and the mean is 60."""
    random, held, shown = np.random.default_rng(5), 0, 0
    for _ in range(400):
        values = np.where(random.random(3) < 0.25, 0.0, 80.0) + random.normal(0, 1, size=3)
        sample = drawn(np.clip(values, 0.1, 99.9), examples=0)
        low, high = interval([sample])
        held += low <= 60 <= high
        shown += bool(find_collapsed([sample], 0.0)[0])
    assert held / 400 < 0.7
    assert shown / 400 == pytest.approx(1 - 0.75**3 - 0.25**3, abs=0.08), "all but those in which none or all did"


@pytest.fixture
def folder(tmp_path):
    """kd on the small student scores 50 like the constant answer with its second seed."""
    keys = [run_key("sst2", "kd", "small", seed) for seed in (1, 2, 3)]
    store = fill(tmp_path, plan([SST2, SQUAD]), leave_out=keys, answered=True)
    for seed, (key, score) in enumerate(zip(keys, (0.9, 0.5, 0.9), strict=True), start=1):
        store.save(run_record("sst2", "kd", "small", seed, score), answers("sst2", key, score))
    return tmp_path


def test_the_board_marks_collapsed_seeds(folder):
    written = report(folder)
    line = next(line for line in written.board.lines if line.cells[1:3] == ("kd", "small"))
    assert line.cells[3].endswith(" ‡")
    assert line.cells[5].endswith(" ‡")
    assert "- ‡ some seeds collapsed (kd on small, sst2: seed 2)" in written.markdown
    assert "is not a 95 % interval" in written.markdown
    assert r"$\ddagger$" in (folder / "leaderboard.tex").read_text()
    assert "‡" in (folder / "index.html").read_text()


def test_exports_contain_collapsed_seeds(folder):
    report(folder)
    rows = json.loads((folder / "leaderboard.json").read_text())["rows"]
    marked = {row["label"] + " " + row["student"]: row["tasks"]["sst2"]["collapsed_seeds"] for row in rows}
    assert {row: seeds for row, seeds in marked.items() if seeds} == {"kd small": [2]}


def test_other_rows_are_not_marked(tmp_path):
    summary = summarize(fill(tmp_path, answered=True))
    assert not any(cell.collapsed for row in summary.students for cell in row.cells.values())
    assert "‡" not in report(tmp_path).markdown
