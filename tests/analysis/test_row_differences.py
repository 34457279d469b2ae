"""Differences of any two rows of a board: with a teacher, across students, and those that the board itself compares."""

import numpy as np
import pytest

from harness.analysis.aggregate import summarize
from harness.analysis.row_differences import of_average, on_task
from tests.support.results_factory import SCORES, fill, run_key

TEACHER = ("teacher", "base", "")
KD, FINETUNE, SMALL = (("student", *name) for name in (("kd", "big"), ("finetune", "big"), ("kd", "small")))


@pytest.fixture
def summary(tmp_path):
    return summarize(fill(tmp_path, leave_out=[run_key("squad", "finetune", "small", 2)], answered=True))


def test_differences_on_a_task_are_paired_by_seed(summary):
    found = on_task([*summary.teachers, *summary.students], "sst2")
    assert len(found) == 5 * 4 / 2
    assert found[TEACHER, KD].effect.mean == pytest.approx(92 - 86)
    assert found[KD, FINETUNE].effect.mean == pytest.approx(4)
    difference = found[KD, SMALL].effect
    values = 100 * (np.array(SCORES["sst2", "kd", "big"]) - SCORES["sst2", "kd", "small"])
    assert difference.mean == pytest.approx(values.mean())
    assert difference.low < values.mean() < difference.high
    assert all(value.p is None for value in found.values())


def test_an_incomplete_row_has_no_difference(summary):
    names = {name for pair in on_task(summary.students, "squad") for name in pair}
    assert ("student", "finetune", "small") not in names
    assert ("student", "finetune", "small") not in {
        name for pair in of_average(summary, summary.students) for name in pair
    }


def test_differences_of_averages_are_those_of_the_board(summary):
    rows = [*summary.teachers, *summary.students]
    (pair,) = summary.comparisons
    assert pair.labels == ("finetune", "kd")
    for order in (rows, rows[::-1]):
        found = of_average(summary, order)
        known = found.get((KD, FINETUNE)) or -found[FINETUNE, KD]
        assert (known.effect.mean, known.p) == (pytest.approx(-pair.difference.mean), pair.p)
        assert (known.effect.low, known.effect.high) == pytest.approx((-pair.difference.high, -pair.difference.low))
        other = found.get((KD, SMALL)) or -found[SMALL, KD]
        assert other.effect.mean == pytest.approx(81.5 - 74.5)
        assert other.p is None
