"""Paired differences over pairs, tasks and seeds, as in the comparison sections."""

import numpy as np
import pytest
from scipy import stats

from harness.analysis.inference import Sample
from harness.analysis.paired_effects import effect, mean, mean_of


def sample(*values: float, first: int = 1) -> Sample:
    return Sample(tuple(range(first, first + len(values))), np.array(values))


def test_a_difference_by_hand():
    ours = [[sample(3.0, 5.0, 7.0)], [sample(2.0, 2.0, 2.0)]]
    theirs = [[sample(1.0, 1.0, 1.0)], [sample(2.0, 2.0, 2.0)]]
    difference = effect(ours, theirs)  # seed by seed: (2 + 0) / 2, (4 + 0) / 2, (6 + 0) / 2
    assert (difference.mean, difference.margin) == (2.0, pytest.approx(4.302653 / 3**0.5))
    assert not difference.clear


def test_the_interval_equals_that_of_scipys_paired_test():
    ours, theirs = np.random.default_rng(4).normal(80, 3, size=(2, 5))
    difference = effect([[sample(*ours)]], [[sample(*theirs)]])
    interval = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert (difference.low, difference.high) == pytest.approx((interval.low, interval.high), rel=1e-7)


def test_over_tasks_the_interval_equals_welchs():
    """Two tasks of one pair: the mean of two independent means, equivalent to Welch's test of their sum."""
    one, other = [1.0, 2.0, 4.0], [3.0, 3.5, 3.2]
    difference = effect([[sample(*one), sample(*other)]], [[sample(0, 0, 0), sample(0, 0, 0)]])
    interval = stats.ttest_ind(one, [-value for value in other], equal_var=False).confidence_interval(0.95)
    assert (difference.low, difference.high) == pytest.approx((interval.low / 2, interval.high / 2), rel=1e-7)
    assert difference.mean == pytest.approx(mean([sample(*one), sample(*other)]))


def test_the_interval_of_one_seed_covers_examples_only():
    unknown = effect([[sample(3.0)], [sample(5.0)]], [[sample(1.0)], [sample(2.0)]])
    assert (unknown.mean, unknown.low, unknown.high) == (2.5, None, None)
    draws = np.random.default_rng(0).normal(3, 0.5, size=(1000, 1))
    ours, theirs = (Sample((1,), np.array([value]), draws * value, 100) for value in (3.0, 1.0))
    difference = effect([[ours]], [[theirs]])
    assert difference.high - difference.mean == pytest.approx(1.98 * 2 * 0.5, rel=0.05)


def test_the_interval_is_that_of_a_test():
    """t^2 s^2 is not reduced by more than z^2 L, as it is for the interval of a score."""
    random = np.random.default_rng(0)
    ours = Sample((1, 2, 3), np.array([81.0, 83.0, 80.0]), random.normal(81.0, 1.0, size=(500, 3)), 100)
    theirs = Sample((1, 2, 3), np.array([79.0, 79.0, 79.0]), np.full((500, 3), 79.0), 100)
    (variances, difference) = (ours - theirs).variances(), effect([[ours]], [[theirs]])
    t, z = stats.t.ppf(0.975, 2), stats.t.ppf(0.975, 99)
    expected = z**2 * variances.examples + max(z**2 * variances.luck, t**2 * variances.seeds)
    assert difference.margin == pytest.approx(expected**0.5, rel=1e-6)


def test_pairs_are_averaged_resample_by_resample():
    draws = np.random.default_rng(0).normal(size=(50, 2))
    up, down = (Sample((1, 2), np.array([1.0, 1.0]), sign * draws, 50) for sign in (1, -1))
    assert mean_of([up, down]).variances() == (0.0, 0.0, 0.0)


def test_equal_scores_have_an_interval_of_0():
    same = effect([[sample(2.0, 3.0)]], [[sample(2.0, 3.0)]])
    assert (same.mean, same.low, same.high) == (0.0, 0.0, 0.0)


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
def test_scores_that_cannot_be_paired_are_refused(ours, theirs):
    with pytest.raises(ValueError, match="cannot be paired"):
        effect(ours, theirs)
