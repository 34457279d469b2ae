"""Groups: Holm's correction by hand, and how often equal methods differ significantly."""

from dataclasses import replace

import numpy as np
import pytest

from harness.analysis.aggregate import summarize
from harness.analysis.inference import Sample
from harness.analysis.row_differences import within
from harness.analysis.top_groups import compare, holm, top_group
from harness.reporting import captions
from tests.support.results_factory import fill, plan


def test_holm_by_hand():
    """0.01 x 4, 0.02 x 3, then 0.021 x 2 (raised to the value before it), and at most 1."""
    assert holm([0.02, 0.01, 0.021, 0.9]) == pytest.approx([0.06, 0.04, 0.06, 0.9])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def sample(*values: float) -> Sample:
    return Sample(tuple(range(len(values))), np.array(values))


def compared(rows):
    """Label -> samples: the comparisons of all pairs of labels."""
    return compare(within({("student", label, "small"): samples for label, samples in rows.items()}))


def test_the_top_group_is_the_best_and_rows_without_a_significant_difference():
    rows = {"best": [sample(90, 90.1, 90.2)], "near": [sample(89.9, 90.2, 89.8)], "far": [sample(70, 70.2, 70.1)]}
    comparisons = compared(rows)
    assert [pair.labels for pair in comparisons] == [("best", "near"), ("best", "far"), ("near", "far")]
    assert [pair.distinguished for pair in comparisons] == [False, True, True]
    assert top_group("best", comparisons) == {"best", "near"}
    assert comparisons[1].difference.mean == pytest.approx(20)


def test_a_pair_whose_interval_includes_0_does_not_differ_significantly():
    """The seeds of one row vary: the test of the family alone, with moderated variances, would call it different."""
    rows = {"wild": [sample(77, 87, 82)], **{str(row): [sample(70, 70.1, 70.2 + row / 10)] for row in range(5)}}
    family = within({("student", label, "small"): samples for label, samples in rows.items()})
    tested = holm([difference.tested.p for difference in family.differences.values()])
    for pair, p in list(zip(compare(family), tested, strict=True))[:5]:
        assert p < 0.05 < pair.p == pair.difference.p
        assert pair.difference.low < 0 < pair.difference.mean
        assert not pair.distinguished


def test_p_is_at_most_5_percent_only_if_the_interval_excludes_0():
    random, significant = np.random.default_rng(5), 0
    for _ in range(100):
        spreads, means = random.choice([0.2, 1.0, 5.0], size=6), random.normal(80, 3, size=6)
        table = {str(row): [sample(*random.normal(means[row], spreads[row], size=3))] for row in range(6)}
        for pair in compared(table):
            significant += pair.distinguished
            assert pair.difference.clear or not pair.distinguished
    assert significant > 100


def test_one_seed_gives_no_groups(tmp_path):
    summary = summarize(fill(tmp_path, plan(seeds=1), answered=True))
    assert summary.comparisons == ()
    assert {row.top for row in summary.students} == {None}


def resampled(sample, error):
    noise = np.random.default_rng(0).normal(scale=error, size=(400, 1))
    return replace(sample, draws=sample.values + noise * np.linspace(0.9, 1.1, len(sample.values)), examples=500)


def test_a_row_without_resampled_scores_is_not_tested():
    """Its variance over examples is unknown; as 0 it would make the difference significant."""
    rows = {"a": [sample(88, 89, 90)], "b": [sample(84, 85, 86)], "c": [sample(50, 51, 52)]}
    whole = compared({label: [resampled(samples[0], 30.0)] for label, samples in rows.items()})
    lacking = compared({**rows, "b": [resampled(rows["b"][0], 30.0)], "c": [resampled(rows["c"][0], 30.0)]})
    assert [pair.unsampled for pair in lacking] == [("a",), ("a",), ()]
    assert [(pair.p, pair.difference.low, pair.difference.p) for pair in lacking[:2]] == [(None, None, None)] * 2
    assert [pair.difference.repeated for pair in lacking] == [False] * 3, "there is one reason, the missing predictions"
    assert lacking[0].untested == "a without usable predictions"
    assert lacking[1].difference.mean == whole[1].difference.mean
    assert top_group("a", lacking) == {"a", "b", "c"}
    assert lacking[2].difference.p == whole[2].difference.p
    assert lacking[2].p >= whole[2].p, "Holm's family keeps its size"


def test_rows_whose_difference_is_the_same_with_every_seed_are_not_tested():
    (pair,) = compared({"a": [sample(88, 89, 90)], "b": [sample(87.9, 88.9, 89.9)]})
    assert (pair.p, pair.unsampled, pair.untested) == (None, (), "the difference is the same with every seed")
    assert top_group("a", [pair]) == {"a", "b"}


def test_rows_are_tested_over_seeds_if_none_has_resampled_scores_on_a_task():
    rows = {"a": [sample(90, 90.1, 90.2), sample(80, 80.1, 80.2)], "b": [sample(70, 70.2, 70.1), sample(60, 60.1, 60)]}
    (pair,) = compared({label: [one, resampled(two, 0.1)] for label, (one, two) in rows.items()})
    assert (pair.difference.over, pair.distinguished) == ("seeds", True)


@pytest.mark.parametrize(("seeds", "tasks", "rows"), [(3, 1, 5), (3, 8, 10), (5, 8, 5), (10, 2, 4)])
def test_equal_methods_rarely_differ_significantly(seeds, tasks, rows):
    """On at most 5 % of boards any of them is outside of the top group, although the best is selected by its score."""
    random, wrong, times = np.random.default_rng([seeds, tasks, rows]), 0, 300
    for _ in range(times):
        scores = 80 + random.normal(size=(tasks, rows, seeds)) * random.uniform(0.2, 2, size=(tasks, 1, 1))
        table = {str(row): [sample(*scores[task, row]) for task in range(tasks)] for row in range(rows)}
        best = str(scores.mean(axis=(0, 2)).argmax())
        wrong += len(top_group(best, compared(table))) < rows
    assert wrong / times < 0.05 + 2.5 * (0.05 * 0.95 / times) ** 0.5


def test_very_different_methods_differ_significantly():
    random, right = np.random.default_rng(0), 0
    for _ in range(50):
        table = {
            str(row): [sample(*(80 + 4 * row + random.normal(0, 0.5, size=3))) for _ in range(8)] for row in range(4)
        }
        right += top_group("3", compared(table)) == {"3"}
    assert right == 50


def test_a_row_outside_the_group_above_one_inside_is_explained(tmp_path):
    """Only among rows of one student."""
    summary = summarize(fill(tmp_path))
    rows = {(row.label, row.student): row for row in summary.students}
    assert [rows["kd", "big"].rank, rows["finetune", "big"].rank] == [1, 2]

    def text(**top):
        rows = [replace(row, top=top[row.student][row.label == "finetune"]) for row in summary.students]
        return captions.group(replace(summary, students=tuple(rows)))

    assert "a row may be outside while a lower-ranked row" in text(big=(False, True), small=(True, False))
    assert "a row may be out" not in text(big=(True, False), small=(True, True))
    assert "a row may be out" not in text(big=(True, True), small=(True, False))


def test_rows_of_one_rank_of_which_one_is_outside_are_explained(tmp_path):
    summary = summarize(fill(tmp_path))

    def text(top, rank):
        rows = [
            replace(row, top=row.label == "kd" or top, rank=1 if row.label == "kd" else rank)
            for row in summary.students
        ]
        return captions.group(replace(summary, students=tuple(rows)))

    assert text(top=False, rank=1).endswith(
        "; rows of one rank may differ significantly, by less than the printed averages show"
    )
    assert "rows of one rank" not in text(top=True, rank=1)
    assert "rows of one rank" not in text(top=False, rank=2)
