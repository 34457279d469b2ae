"""Paired differences and their intervals, against scipy, by hand, and by simulation."""

import random

import pytest
from scipy import stats

from harness.results.effects import Effect, effect, t_quantile


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 10, 31, 200])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_quantiles_are_students(freedom, level):
    assert t_quantile(freedom, level) == pytest.approx(stats.t.ppf((1 + level) / 2, freedom), rel=1e-9)


def test_by_hand():
    ours = [{1: 3.0, 2: 5.0, 3: 7.0}, {1: 2.0, 2: 2.0, 3: 2.0}]
    theirs = [{1: 1.0, 2: 1.0, 3: 1.0}, {3: 2.0, 2: 2.0, 1: 2.0}]
    found = effect(ours, theirs)  # seed by seed: (2 + 0) / 2, (4 + 0) / 2, (6 + 0) / 2
    assert found == Effect(2.0, pytest.approx(2 - 4.302653 / 3**0.5), pytest.approx(2 + 4.302653 / 3**0.5), 3)
    assert not found.clear


def test_it_is_scipys_interval_of_a_paired_test():
    draw = random.Random(4)
    ours, theirs = ({seed: draw.gauss(80, 3) for seed in range(5)} for _ in range(2))
    found = effect([ours], [theirs])
    interval = stats.ttest_rel(list(ours.values()), list(theirs.values())).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_one_seed_has_no_interval():
    assert effect([{7: 3.0}, {7: 5.0}], [{7: 1.0}, {7: 2.0}]) == Effect(2.5, None, None, 1)
    assert not effect([{7: 3.0}], [{7: 1.0}]).clear


def test_equal_scores_differ_by_nothing():
    assert effect([{1: 2.0, 2: 3.0}], [{1: 2.0, 2: 3.0}]) == Effect(0.0, 0.0, 0.0, 2)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([], []),
        ([{1: 1.0}], [{2: 1.0}]),
        ([{1: 1.0}, {1: 2.0}], [{1: 1.0}]),
        ([{1: 1.0}, {1: 1.0, 2: 1.0}], [{1: 1.0}] * 2),
    ],
)
def test_what_cannot_be_paired_is_refused(ours, theirs):
    with pytest.raises(ValueError, match="cannot be paired"):
        effect(ours, theirs)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_95_of_100_intervals_hold_the_truth(seeds):
    """Four cells that share what is special about a seed, as rows of a grid do; the noise is ten times the effect."""
    draw, held, times = random.Random(seeds), 0, 4000
    for _ in range(times):
        ours: list[dict[int, float]] = [{} for _ in range(4)]
        theirs: list[dict[int, float]] = [{} for _ in range(4)]
        for seed in range(seeds):
            shared, of_level = draw.gauss(0, 5), draw.gauss(0, 2)
            for cell in range(4):
                theirs[cell][seed] = 80 + cell + shared + draw.gauss(0, 1)
                ours[cell][seed] = 80.3 + cell + shared + of_level + draw.gauss(0, 1)
        found = effect(ours, theirs)
        held += found.low <= 0.3 <= found.high
    assert held / times == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / times) ** 0.5)
