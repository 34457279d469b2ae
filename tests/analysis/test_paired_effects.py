"""Paired differences of what a section compares: over pairs, tasks and seeds."""

import numpy as np
import pytest
from scipy import stats

from harness.analysis.inference import Sample
from harness.analysis.paired_effects import Effect, effect, mean, mean_of


def sample(*values: float, first: int = 1) -> Sample:
    return Sample(tuple(range(first, first + len(values))), np.array(values))


def test_by_hand():
    ours = [[sample(3.0, 5.0, 7.0)], [sample(2.0, 2.0, 2.0)]]
    theirs = [[sample(1.0, 1.0, 1.0)], [sample(2.0, 2.0, 2.0)]]
    found = effect(ours, theirs)  # seed by seed: (2 + 0) / 2, (4 + 0) / 2, (6 + 0) / 2
    assert found == Effect(2.0, pytest.approx(2 - 4.302653 / 3**0.5), pytest.approx(2 + 4.302653 / 3**0.5), 3)
    assert not found.clear


def test_it_is_scipys_interval_of_a_paired_test():
    ours, theirs = np.random.default_rng(4).normal(80, 3, size=(2, 5))
    found = effect([[sample(*ours)]], [[sample(*theirs)]])
    interval = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-7)


def test_over_tasks_it_is_welchs():
    """Two tasks of one pair: the mean of two independent means, as Welch's test has their sum."""
    one, other = [1.0, 2.0, 4.0], [3.0, 3.5, 3.2]
    found = effect([[sample(*one), sample(*other)]], [[sample(0, 0, 0), sample(0, 0, 0)]])
    interval = stats.ttest_ind(one, [-value for value in other], equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low / 2, interval.high / 2), rel=1e-7)
    assert found.mean == pytest.approx(mean([sample(*one), sample(*other)]))


def test_one_seed_has_an_interval_only_over_examples():
    assert effect([[sample(3.0)], [sample(5.0)]], [[sample(1.0)], [sample(2.0)]]) == Effect(2.5, None, None, 1)
    draws = np.random.default_rng(0).normal(3, 0.5, size=(1000, 1))
    ours, theirs = (Sample((1,), np.array([value]), draws * value, 100) for value in (3.0, 1.0))
    found = effect([[ours]], [[theirs]])
    assert found.high - found.mean == pytest.approx(1.98 * 2 * 0.5, rel=0.05)


def test_pairs_are_averaged_resample_by_resample():
    draws = np.random.default_rng(0).normal(size=(50, 2))
    up, down = (Sample((1, 2), np.array([1.0, 1.0]), sign * draws, 50) for sign in (1, -1))
    assert mean_of([up, down]).variances() == (0.0, 0.0, 0.0)


def test_equal_scores_differ_by_nothing():
    assert effect([[sample(2.0, 3.0)]], [[sample(2.0, 3.0)]]) == Effect(0.0, 0.0, 0.0, 2)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([], []),
        ([[sample(1.0, 2.0)]], [[sample(1.0, 2.0, first=2)]]),
        ([[sample(1.0)], [sample(2.0)]], [[sample(1.0)]]),
        ([[sample(1.0), sample(1.0)]], [[sample(1.0)]]),
        ([[sample(1.0, 2.0)], [sample(1.0, 2.0, first=5)]], [[sample(0.0)], [sample(0.0)]]),
    ],
)
def test_what_cannot_be_paired_is_refused(ours, theirs):
    with pytest.raises(ValueError, match="cannot be paired"):
        effect(ours, theirs)
