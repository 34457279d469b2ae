"""Differences of any two rows of a board: of one student, across students, with a teacher, and of one seed."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from harness.analysis import pairwise
from harness.analysis.aggregate import summarize
from harness.analysis.inference import Sample, estimate
from harness.analysis.paired_effects import effect
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


def own(scores, tasks, row, other):
    """The interval from the variance of this pair alone."""
    return estimate([scores[row][task] - scores[other][task] for task in tasks])


def test_pairs_of_a_student_are_moderated_by_all_its_pairs(scores):
    found, rows = RowDifferences(scores), of_student(scores, "big")
    expected = pairwise.differences(list(rows.values()))
    zero, one, two, three = rows
    assert ends(found.of(["t", "u"], zero, one)) == ends(expected[0].stated)
    assert ends(found.of(["t", "u"], three, two)) == ends(-expected[-1].stated)
    assert found.family(["t", "u"], three).differences[zero, one].tested.margin == expected[0].tested.margin
    assert expected[0].stated.margin != pytest.approx(own(scores, ["t", "u"], zero, one).margin, rel=0.2)
    assert ends(expected[-1].stated) == pytest.approx(ends(own(scores, ["t", "u"], two, three)), rel=0.05)


def test_pairs_of_two_students_and_of_teachers_have_their_own_variance(scores):
    """Also if all have several seeds: other pairs are no guide to it."""
    random = np.random.default_rng(1)
    teachers = {("teacher", name, ""): {"t": sample(random), "u": sample(random)} for name in ("base", "large", "huge")}
    found, rows = RowDifferences(scores | teachers), scores | teachers
    pairs = [(("student", "1", "big"), ("student", "2", "small")), *combinations(teachers, 2)]
    pairs.append((("student", "0", "big"), next(iter(teachers))))
    for one, other in pairs:
        expected = own(rows, ["t", "u"], one, other)
        assert ends(found.of(["t", "u"], one, other)) == ends(expected)
        assert ends(found.of(["t", "u"], other, one)) == ends(-expected)
    assert found.family(["t", "u"], next(iter(teachers))) is None


def test_a_difference_from_a_row_with_one_seed_has_the_variance_of_the_other_row(scores):
    student = ("student", "1", "big")
    assert ends(RowDifferences(scores).of(["t"], student, TEACHER)) == ends(own(scores, ["t"], student, TEACHER))


def test_the_mean_over_several_pairs_has_its_own_variance(scores):
    found, (zero, one, two, three) = RowDifferences(scores), of_student(scores, "big")
    expected = effect(
        [list(scores[zero].values()), list(scores[one].values())],
        [list(scores[two].values()), list(scores[three].values())],
    )
    assert ends(found.mean(["t", "u"], [(zero, two), (one, three)])) == ends(expected)
    assert ends(found.mean(["t", "u"], [(zero, two)])) == ends(found.of(["t", "u"], zero, two))
    assert found.mean(["t", "u"], [(zero, two), (one, ("student", "none", "big"))]) is None


def test_differences_of_one_seed_cover_the_examples_alone(tmp_path):
    summary = summarize(fill(tmp_path, plan(seeds=1), answered=True))
    difference = summary.differences.of(TASKS, KD, FINETUNE)
    assert (difference.over, summary.differences.family(TASKS, KD)) == ("examples", None)
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


def test_a_mean_over_rows_that_all_lack_resampled_scores_has_no_interval_if_others_have_them():
    """Their variance over examples is unknown, though no pair lacks those of one side alone."""
    random = np.random.default_rng(0)
    names = [("student", label, "big") for label in "abcde"]
    rows = {name: {"t": sample(random, drawn=name == names[4])} for name in names}
    pairs = [(names[0], names[1]), (names[2], names[3])]
    assert ends(RowDifferences(rows).mean(["t"], pairs))[1:] == (None, None)
    without = {name: row for name, row in rows.items() if name != names[4]}
    assert RowDifferences(without).mean(["t"], pairs).over == "seeds", "if no row has any"


def test_rows_of_two_students_that_both_lack_resampled_scores_have_no_known_error_if_others_have_them():
    random = np.random.default_rng(0)
    names = [("student", label, student) for student in ("big", "small") for label in "ab"]
    rows = {name: {"t": sample(random, drawn=name == names[1])} for name in names}
    assert ends(RowDifferences(rows).of(["t"], names[0], names[2]))[1:] == (None, None)
    del rows[names[1]]
    assert RowDifferences(rows).of(["t"], names[0], names[2]).over == "seeds"
