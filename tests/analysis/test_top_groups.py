"""Groups: Holm's correction by hand, and how often equal methods are told apart."""

from dataclasses import replace

import numpy as np
import pytest

from harness.analysis.aggregate import summarize
from harness.analysis.inference import Sample
from harness.analysis.top_groups import compare, holm, top
from harness.reporting import captions
from tests.support.results_factory import fill


def test_holm_by_hand():
    """0.01 x 4, 0.02 x 3, then 0.02 (smaller than the one before it: that one), and no more than 1."""
    assert holm([0.02, 0.01, 0.021, 0.9]) == pytest.approx([0.06, 0.04, 0.06, 0.9])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def sample(*values: float) -> Sample:
    return Sample(tuple(range(len(values))), np.array(values))


def test_the_top_group_is_the_best_and_what_is_not_told_from_it():
    rows = {"best": [sample(90, 90.1, 90.2)], "near": [sample(89.9, 90.2, 89.8)], "far": [sample(70, 70.2, 70.1)]}
    found = compare("small", rows)
    assert [each.labels for each in found] == [("best", "near"), ("best", "far"), ("near", "far")]
    assert [each.told_apart for each in found] == [False, True, True]
    assert top("best", found) == {"best", "near"}
    assert found[1].difference.mean == pytest.approx(20)


def test_one_seed_makes_no_group():
    assert compare("small", {"a": [sample(90.0)], "b": [sample(10.0)]}) == []


@pytest.mark.parametrize(("seeds", "tasks", "rows"), [(3, 1, 5), (3, 8, 10), (5, 8, 5), (10, 2, 4)])
def test_equal_methods_are_seldom_told_apart(seeds, tasks, rows):
    """In at most 5 of 100 boards is any of them left out of the top group, though the best was picked by its score."""
    random, wrong, times = np.random.default_rng([seeds, tasks, rows]), 0, 300
    for _ in range(times):
        scores = 80 + random.normal(size=(tasks, rows, seeds)) * random.uniform(0.2, 2, size=(tasks, 1, 1))
        table = {str(row): [sample(*scores[task, row]) for task in range(tasks)] for row in range(rows)}
        best = str(scores.mean(axis=(0, 2)).argmax())
        wrong += len(top(best, compare("small", table))) < rows
    assert wrong / times < 0.05 + 2.5 * (0.05 * 0.95 / times) ** 0.5


def test_methods_that_differ_much_are_told_apart():
    random, right = np.random.default_rng(0), 0
    for _ in range(50):
        table = {
            str(row): [sample(*(80 + 4 * row + random.normal(0, 0.5, size=3))) for _ in range(8)] for row in range(4)
        }
        right += top("3", compare("small", table)) == {"3"}
    assert right == 50


def test_a_row_that_is_out_above_one_that_is_in_is_explained(tmp_path):
    """On one student: a better row of another student is another matter."""
    summary = summarize(fill(tmp_path))
    rows = {(row.label, row.student): row for row in summary.students}
    assert [rows["kd", "big"].rank, rows["finetune", "big"].rank] == [1, 2]

    def text(**top):
        made = [replace(row, top=top[row.student][row.label == "finetune"]) for row in summary.students]
        return captions.group(replace(summary, students=tuple(made)))

    assert "a row may be outside while a lower-ranked row" in text(big=(False, True), small=(True, False))
    assert "a row may be out" not in text(big=(True, False), small=(True, True))
    assert "a row may be out" not in text(big=(True, True), small=(True, False))
