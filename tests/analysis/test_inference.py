"""Intervals: by hand, against scipy, and by simulation of worlds whose truth is known."""

import numpy as np
import pytest
from scipy import stats

from harness.analysis.bootstrap import resamples
from harness.analysis.inference import Sample, estimate
from harness.analysis.suite_level import gap_closed, iqm


def seeds(*values: float) -> Sample:
    return Sample(tuple(range(len(values))), np.array(values))


def test_without_draws_it_is_the_t_interval_of_the_seeds():
    found = estimate([seeds(1.0, 2.0, 6.0)])
    expected = stats.ttest_1samp([1.0, 2.0, 6.0], 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert found.p == pytest.approx(stats.ttest_1samp([1.0, 2.0, 6.0], 0).pvalue, rel=1e-3)
    assert (found.over, found.mean) == ("seeds", 3.0)


def test_over_tasks_variances_add_and_freedom_is_satterthwaites():
    """Variances of the means: 1 / 3 and 4 / 3; over two tasks (1 + 4) / 12, with 25 / (1 / 2 + 16 / 2) degrees."""
    found = estimate([seeds(1.0, 2.0, 3.0), seeds(2.0, 4.0, 6.0)])
    assert found.mean == 3.0
    assert found.error == pytest.approx((5 / 12) ** 0.5)
    assert found.freedom == pytest.approx(25 / 8.5)
    assert found.high == pytest.approx(3 + stats.t.ppf(0.975, 25 / 8.5) * (5 / 12) ** 0.5)


def test_variances_by_hand():
    """Draws whose columns are x + y and x - y: their covariance is var x - var y, and each has 2 var y more."""
    x, y = np.array([1.0, -1.0, 2.0, -2.0]), np.array([1.0, 1.0, -1.0, -1.0])
    sample = Sample((1, 2), np.array([50.0, 50.2]), np.stack([x + y, x - y], axis=1), 4)
    found = sample.variances()
    assert found.examples == pytest.approx(x.var(ddof=1) - y.var(ddof=1))
    assert found.luck == pytest.approx(2 * y.var(ddof=1) / 2)
    assert found.seeds == pytest.approx(0.02 / 2)
    assert found.total == pytest.approx(found.examples + found.luck), "the seeds' 0.02 is less than their luck alone"
    wide = Sample((1, 2), np.array([50.0, 60.0]), sample.draws, 4)
    assert wide.variances().seeds == pytest.approx(50.0 / 2)


def test_differences_are_paired():
    draws = np.random.default_rng(0).normal(size=(100, 3))
    one = Sample((1, 2, 3), np.array([80.0, 70.0, 90.0]), draws, 100)
    other = Sample((1, 2, 3), np.array([79.0, 69.0, 89.0]), draws + 1, 100)
    found = estimate([one - other])
    assert (found.mean, found.error) == (1.0, pytest.approx(0, abs=1e-9))
    with pytest.raises(ValueError, match="cannot be paired"):
        one - Sample((1, 2), np.array([1.0, 2.0]))


def test_one_seed_has_an_interval_over_examples_or_none():
    draws = np.random.default_rng(0).normal(70, 2, size=(500, 1))
    found = estimate([Sample((0,), np.array([70.0]), draws, 100)])
    assert (found.over, found.error) == ("examples", pytest.approx(draws.std(ddof=1)))
    nothing = estimate([seeds(70.0)])
    assert (nothing.low, nothing.p, nothing.over) == (None, None, None)


EXAMPLES, TIMES = 80, 400
COUNTS = resamples(EXAMPLES, 200, np.random.default_rng(1)).counts


def scored(table: np.ndarray) -> Sample:
    """Of [examples, seeds], each the points of one example."""
    return Sample(tuple(range(table.shape[1])), table.mean(axis=0), COUNTS @ table / EXAMPLES, EXAMPLES)


def world(random: np.random.Generator, count: int, of_seeds: float, of_examples: float, rows: int) -> list[np.ndarray]:
    """Points of `rows` methods, truly 80 each: what all have of an example, a method has of it, a run has, and both."""
    shared = random.normal(0, of_examples, size=(EXAMPLES, 1))
    return [
        80
        + shared
        + random.normal(0, of_examples / 2, size=(EXAMPLES, 1))
        + random.normal(0, of_seeds, size=count)
        + random.normal(0, of_examples, size=(EXAMPLES, count))
        for _ in range(rows)
    ]


WORLDS = [(1.0, 0.5, 1), (1.0, 8.0, 1), (0.1, 10.0, 1), (1.0, 8.0, 4)]
"""What seeds and examples differ by, and tasks: seeds alone matter, both, examples alone, both on more tasks."""


LEAST = 0.95 - 3 * (0.95 * 0.05 / TIMES) ** 0.5
"""Of intervals that hold the truth, if 95 in 100 do."""


def coverage(found, truth: float) -> float:
    return sum(each.low <= truth <= each.high for each in found) / len(found)


def width(found) -> float:
    """What the squares of the standard errors are of the variance that the means have."""
    return float(np.mean([each.error**2 for each in found]) / np.var([each.mean for each in found], ddof=1))


@pytest.mark.parametrize("count", [3, 5, 10])
@pytest.mark.parametrize(("of_seeds", "of_examples", "tasks"), WORLDS)
def test_intervals_hold_the_truth_and_are_no_wider_than_that_takes(count, of_seeds, of_examples, tasks):
    """Of scores and of differences: 95 in 100, or a little more."""
    random, own, between = np.random.default_rng([count, tasks]), [], []
    for _ in range(TIMES):
        pairs = [world(random, count, of_seeds, of_examples, 2) for _ in range(tasks)]
        samples = [[scored(table) for table in pair] for pair in pairs]
        own.append(estimate([one for one, _ in samples]))
        between.append(estimate([one - other for one, other in samples]))
    most = 0.975 if of_seeds > of_examples else 0.99
    for found, truth in ((own, 80), (between, 0)):
        assert LEAST < coverage(found, truth) < most
        assert 0.8 < width(found) < 1.35


@pytest.mark.parametrize("count", [3, 10])
@pytest.mark.parametrize("levels", [(100, 100, 100, 100), (70, 90, 110, 130)])
@pytest.mark.parametrize(("of_seeds", "of_examples"), [(1.0, 0.5), (1.0, 8.0), (0.1, 10.0)])
def test_so_are_those_of_an_interquartile_mean(count, levels, of_seeds, of_examples):
    """Of tasks that are alike, and of such as lie apart, so that the middle half is of two of them. Where each seed's
    luck with the examples counted more than once, they would be wider."""
    random, found = np.random.default_rng([count, *levels]), []
    for _ in range(TIMES):
        tables = [world(random, count, of_seeds, of_examples, 1)[0] + 0.8 * (level - 100) for level in levels]
        found.append(iqm([scored(table) for table in tables], [seeds(80.0)] * len(levels)))
    assert LEAST < coverage(found, 100) < 0.99
    assert 0.75 < width(found) < (1.25 if levels[0] < levels[1] else 1.45)


@pytest.mark.parametrize(("count", "coverage"), [(3, 0.74), (5, 0.84), (10, 0.90)])
def test_to_resample_seeds_would_not_hold_it(count, coverage):
    """Why there is t: the percentiles of resampled seeds alone."""
    random = np.random.default_rng(count)
    scores = random.normal(80, 1, size=(2000, count))
    picked = random.integers(count, size=(200, count))
    low, high = np.percentile(scores[:, picked].mean(axis=2), [2.5, 97.5], axis=1)
    assert np.mean((low <= 80) & (high >= 80)) == pytest.approx(coverage, abs=0.03)


def test_the_part_of_a_gap_holds_the_truth_and_a_gap_that_may_be_none_is_no_gap():
    """A student of 80 without teacher, one of 82 with it, and a teacher of 84: half of the gap."""
    random, held, told = np.random.default_rng(3), 0, 0
    for _ in range(TIMES):
        without, own, teacher = world(random, 3, 0.5, 4.0, 3)
        found = gap_closed([scored(own + 2)], [scored(without)], [scored(teacher[:, :1] + 4)], ("base", "finetune"))
        if found is not None:
            told += 1
            held += found.low <= 50 <= found.high
    assert told > TIMES / 3
    assert 0.9 < held / told < 0.99
    without, own, teacher = world(random, 3, 0.5, 4.0, 3)
    assert gap_closed([scored(own)], [scored(without)], [scored(teacher[:, :1] - 9)], ("base", "finetune")) is None


def test_a_teacher_without_predictions_is_taken_as_it_is():
    without, own = seeds(60.0, 61.0, 62.0), seeds(64.0, 66.0, 68.0)
    found = gap_closed([own], [without], [seeds(71.0)], ("base", "finetune"))
    assert found.closed == pytest.approx(50)
    assert found.low < 50 < found.high
