"""Differences of any two rows of a board: of one student, across students, with a teacher, and of one seed."""

from dataclasses import replace

import numpy as np
import pytest

from harness.analysis import pairwise
from harness.analysis.aggregate import summarize
from harness.analysis.inference import Sample, estimate
from harness.analysis.row_differences import RowDifferences
from tests.support.results_factory import SCORES, fill, plan, run_key

TEACHER = ("teacher", "base", "")
KD, FINETUNE, SMALL = (("student", *name) for name in (("kd", "big"), ("finetune", "big"), ("kd", "small")))
INCOMPLETE = ("student", "finetune", "small")
TASKS = ["sst2", "squad"]


@pytest.fixture
def summary(tmp_path):
    return summarize(fill(tmp_path, leave_out=[run_key("squad", "finetune", "small", 2)], answered=True))


def ends(difference):
    return (difference.mean, difference.low, difference.high)


def test_differences_are_paired_by_seed(summary):
    of = summary.differences.of
    assert of(["sst2"], TEACHER, KD).mean == pytest.approx(92 - 86)
    assert of(["sst2"], KD, FINETUNE).mean == pytest.approx(4)
    values = 100 * (np.array(SCORES["sst2", "kd", "big"]) - SCORES["sst2", "kd", "small"])
    difference = of(["sst2"], KD, SMALL)
    assert difference.mean == pytest.approx(values.mean())
    assert difference.low < values.mean() < difference.high
    assert ends(of(["sst2"], SMALL, KD)) == (-difference.mean, -difference.high, -difference.low)


def test_an_incomplete_row_has_no_difference(summary):
    for tasks in (["squad"], TASKS):
        assert summary.differences.of(tasks, INCOMPLETE, SMALL) is None
        assert summary.differences.of(tasks, KD, INCOMPLETE) is None
    assert summary.differences.of(["sst2"], INCOMPLETE, SMALL).mean == pytest.approx(-3)


def test_differences_of_averages_are_those_of_the_board(summary):
    (pair,) = summary.comparisons
    assert pair.labels == ("finetune", "kd")
    assert summary.differences.of(TASKS, FINETUNE, KD) is pair.difference
    assert summary.differences.of(TASKS, KD, SMALL).mean == pytest.approx(81.5 - 74.5)


def sample(random, spread=1.0, seeds=(1, 2, 3), *, drawn=False):
    values = random.normal(80, spread, size=len(seeds))
    draws = random.normal(80, 2, size=(300, len(seeds))) if drawn else None
    return Sample(seeds, values, draws, 100)


@pytest.fixture
def scores():
    """Four rows of each of two students, of which each has another variance, and a teacher with one seed."""
    random = np.random.default_rng(0)
    rows = {
        ("student", str(label), student): {"t": sample(random, spread), "u": sample(random, spread)}
        for student in ("big", "small")
        for label, spread in enumerate((0.1, 1.0, 2.0, 9.0))
    }
    return {TEACHER: {"t": sample(random, seeds=(0,)), "u": sample(random, seeds=(0,))}, **rows}


def of_student(scores, student):
    return {name: list(by_task.values()) for name, by_task in scores.items() if name[2] == student}


def test_pairs_of_a_student_are_moderated_by_all_its_pairs(scores):
    found, rows = RowDifferences(scores), of_student(scores, "big")
    expected = pairwise.differences(list(rows.values()))
    assert ends(found.of(["t", "u"], ("student", "0", "big"), ("student", "1", "big"))) == ends(expected[0])
    assert ends(found.of(["t", "u"], ("student", "3", "big"), ("student", "2", "big"))) == ends(-expected[-1])
    alone = estimate([a - b for a, b in zip(rows["student", "0", "big"], rows["student", "1", "big"], strict=True)])
    assert expected[0].margin != pytest.approx(alone.margin, rel=0.2)


def test_pairs_of_two_students_are_moderated_by_all_pairs_of_these(scores):
    big, small = of_student(scores, "big"), of_student(scores, "small")
    expected = pairwise.differences_between(list(big.values()), list(small.values()))
    found = RowDifferences(scores)
    assert ends(found.of(["t", "u"], ("student", "1", "big"), ("student", "2", "small"))) == ends(expected[6])
    assert ends(found.of(["t", "u"], ("student", "2", "small"), ("student", "1", "big"))) == ends(-expected[6])


def test_a_difference_from_a_row_with_one_seed_has_the_variance_of_the_other_row(scores):
    student = ("student", "1", "big")
    expected = estimate([scores[student]["t"] - scores[TEACHER]["t"]])
    assert ends(RowDifferences(scores).of(["t"], student, TEACHER)) == ends(expected)
    assert RowDifferences(scores).family(["t"], student, TEACHER) is None


def test_differences_of_one_seed_cover_the_examples_alone(tmp_path):
    summary = summarize(fill(tmp_path, plan(seeds=1), answered=True))
    difference = summary.differences.of(TASKS, KD, FINETUNE)
    assert (difference.over, summary.differences.family(TASKS, KD, FINETUNE)) == ("examples", None)
    assert difference.low < difference.mean < difference.high
    assert ends(summary.differences.of(TASKS, FINETUNE, KD)) == ends(-difference)


def test_other_seeds_cannot_be_paired(scores):
    scores["student", "1", "big"] = {"t": sample(np.random.default_rng(1), seeds=(4, 5, 6))}
    assert RowDifferences(scores).of(["t"], ("student", "1", "big"), ("student", "2", "big")) is None


def test_rows_with_collapsed_seeds_on_the_tasks_do_not_moderate_others(scores):
    one, other, wild = (("student", label, "big") for label in "013")
    calm = RowDifferences({name: row for name, row in scores.items() if name != wild})
    for collapsed in ({}, {wild: ["u"]}):
        assert RowDifferences(scores, collapsed).of(["t"], one, other).error > 1.5 * calm.of(["t"], one, other).error
    known = RowDifferences(scores, {wild: ["t"]}).of(["t"], one, other)
    assert known.error == pytest.approx(calm.of(["t"], one, other).error)


def test_a_row_without_resampled_scores_that_others_have_has_no_known_error():
    """The variance over examples of the difference is unknown; as 0, it would make the pair the most certain one."""
    random = np.random.default_rng(0)
    names = [("student", label, "big") for label in "abc"]
    rows = {name: {"t": sample(random, drawn=True)} for name in names}
    lacking = {**rows, names[2]: {"t": replace(rows[names[2]]["t"], draws=None)}}
    assert RowDifferences(rows).of(["t"], names[0], names[2]).low is not None
    found = RowDifferences(lacking)
    assert found.of(["t"], names[0], names[1]).over == "seeds and examples"
    for name in names[:2]:
        assert ends(found.of(["t"], name, names[2]))[1:] == (None, None)
    without = {name: {"t": replace(row["t"], draws=None)} for name, row in rows.items()}
    assert RowDifferences(without).of(["t"], names[0], names[2]).over == "seeds", "if no row has any"
