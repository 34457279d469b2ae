"""Intervals: by hand, against scipy, and by simulation with known true scores."""

import numpy as np
import pytest
from scipy import stats

from harness.analysis.bootstrap import resamples
from harness.analysis.inference import Sample, estimate
from harness.analysis.suite_level import gap_closed, iqm


def seeds(*values: float) -> Sample:
    return Sample(tuple(range(len(values))), np.array(values))


def test_without_draws_the_interval_is_the_t_interval_of_the_seeds():
    estimated = estimate([seeds(1.0, 2.0, 6.0)])
    expected = stats.ttest_1samp([1.0, 2.0, 6.0], 0).confidence_interval(0.95)
    assert (estimated.low, estimated.high) == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert estimated.p == pytest.approx(stats.ttest_1samp([1.0, 2.0, 6.0], 0).pvalue, rel=1e-3)
    assert (estimated.over, estimated.mean) == ("seeds", 3.0)


def test_variances_add_over_tasks_with_satterthwaites_degrees_of_freedom():
    """Variances of the means: 1 / 3 and 4 / 3; over two tasks (1 + 4) / 12, with 25 / (1 / 2 + 16 / 2) degrees."""
    estimated = estimate([seeds(1.0, 2.0, 3.0), seeds(2.0, 4.0, 6.0)])
    assert estimated.mean == 3.0
    assert estimated.error == pytest.approx((5 / 12) ** 0.5)
    assert estimated.freedom == pytest.approx(25 / 8.5)
    assert estimated.high == pytest.approx(3 + stats.t.ppf(0.975, 25 / 8.5) * (5 / 12) ** 0.5)


def test_variances_by_hand():
    """Draws whose columns are x + y and x - y: their covariance is var x - var y, and each has 2 var y in addition."""
    x, y = np.array([1.0, -1.0, 2.0, -2.0]), np.array([1.0, 1.0, -1.0, -1.0])
    sample = Sample((1, 2), np.array([50.0, 50.2]), np.stack([x + y, x - y], axis=1), 4)
    variances = sample.variances()
    assert variances.examples == pytest.approx(x.var(ddof=1) - y.var(ddof=1))
    assert variances.luck == pytest.approx(2 * y.var(ddof=1) / 2)
    assert variances.seeds == pytest.approx(0.02 / 2)
    assert variances.total == pytest.approx(variances.examples + variances.luck), "0.02 / 2 is less than luck"
    wide = Sample((1, 2), np.array([50.0, 60.0]), sample.draws, 4)
    assert wide.variances().seeds == pytest.approx(50.0 / 2)


def test_differences_are_paired():
    draws = np.random.default_rng(0).normal(size=(100, 3))
    one = Sample((1, 2, 3), np.array([80.0, 70.0, 90.0]), draws, 100)
    other = Sample((1, 2, 3), np.array([79.0, 69.0, 89.0]), draws + 1, 100)
    estimated = estimate([one - other])
    assert (estimated.mean, estimated.error) == (1.0, pytest.approx(0, abs=1e-9))
    with pytest.raises(ValueError, match="cannot be paired"):
        one - Sample((1, 2), np.array([1.0, 2.0]))


def test_the_interval_of_one_seed_covers_examples_or_is_unknown():
    draws = np.random.default_rng(0).normal(70, 2, size=(500, 1))
    estimated = estimate([Sample((0,), np.array([70.0]), draws, 100)])
    assert (estimated.over, estimated.error) == ("examples", pytest.approx(draws.std(ddof=1)))
    nothing = estimate([seeds(70.0)])
    assert (nothing.low, nothing.p, nothing.over) == (None, None, None)


EXAMPLES, TIMES = 80, 400
COUNTS = resamples(EXAMPLES, 200, np.random.default_rng(1)).counts


def scored(table: np.ndarray) -> Sample:
    """The sample of points [examples, seeds]."""
    return Sample(tuple(range(table.shape[1])), table.mean(axis=0), COUNTS @ table / EXAMPLES, EXAMPLES)


def world(random: np.random.Generator, count: int, of_seeds: float, of_examples: float, rows: int) -> list[np.ndarray]:
    """Points of `rows` methods with true score 80: effects of example, example x method, seed, example x seed."""
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
"""Standard deviations of seed and example effects, number of tasks: seeds dominate, both, examples dominate, both."""


LEAST = 0.95 - 3 * (0.95 * 0.05 / TIMES) ** 0.5
"""Lower Monte Carlo bound of a coverage of 95 %."""


def coverage(estimates, truth: float) -> float:
    return sum(e.low <= truth <= e.high for e in estimates) / len(estimates)


def width(estimates) -> float:
    """Mean squared standard error over the variance of the means."""
    return float(np.mean([e.error**2 for e in estimates]) / np.var([e.mean for e in estimates], ddof=1))


@pytest.mark.parametrize("count", [3, 5, 10])
@pytest.mark.parametrize(("of_seeds", "of_examples", "tasks"), WORLDS)
def test_intervals_cover_the_true_value_and_are_not_too_wide(count, of_seeds, of_examples, tasks):
    """For scores and for differences."""
    random, scores, differences = np.random.default_rng([count, tasks]), [], []
    for _ in range(TIMES):
        pairs = [world(random, count, of_seeds, of_examples, 2) for _ in range(tasks)]
        samples = [[scored(table) for table in pair] for pair in pairs]
        scores.append(estimate([one for one, _ in samples]))
        differences.append(estimate([one - other for one, other in samples]))
    most = 0.975 if of_seeds > of_examples else 0.99
    for estimates, truth in ((scores, 80), (differences, 0)):
        assert LEAST < coverage(estimates, truth) < most
        assert 0.8 < width(estimates) < 1.35


@pytest.mark.parametrize("count", [3, 10])
@pytest.mark.parametrize("levels", [(100, 100, 100, 100), (70, 90, 110, 130)])
@pytest.mark.parametrize(("of_seeds", "of_examples"), [(1.0, 0.5), (1.0, 8.0), (0.1, 10.0)])
def test_intervals_of_interquartile_means_cover_and_are_not_too_wide(count, levels, of_seeds, of_examples):
    """For tasks with equal levels, and with different levels, where the middle half consists of two tasks."""
    random, estimates = np.random.default_rng([count, *levels]), []
    for _ in range(TIMES):
        tables = [world(random, count, of_seeds, of_examples, 1)[0] + 0.8 * (level - 100) for level in levels]
        estimates.append(iqm([scored(table) for table in tables], [seeds(80.0)] * len(levels)))
    assert LEAST < coverage(estimates, 100) < 0.99
    assert 0.75 < width(estimates) < (1.25 if levels[0] < levels[1] else 1.45)


@pytest.mark.parametrize(("count", "coverage"), [(3, 0.74), (5, 0.84), (10, 0.90)])
def test_resampling_seeds_covers_too_little(count, coverage):
    """The reason for t: percentiles of resampled seeds cover too little."""
    random = np.random.default_rng(count)
    scores = random.normal(80, 1, size=(2000, count))
    picked = random.integers(count, size=(200, count))
    low, high = np.percentile(scores[:, picked].mean(axis=2), [2.5, 97.5], axis=1)
    assert np.mean((low <= 80) & (high >= 80)) == pytest.approx(coverage, abs=0.03)


def test_the_interval_of_the_gap_closed_covers_and_insignificant_gaps_are_none():
    """True scores: 80 without a teacher, 82 with it, teacher 84, so half of the gap is closed."""
    random, covered, significant = np.random.default_rng(3), 0, 0
    for _ in range(TIMES):
        without, method, teacher = world(random, 3, 0.5, 4.0, 3)
        gap = gap_closed([scored(method + 2)], [scored(without)], [scored(teacher[:, :1] + 4)], ("base", "finetune"))
        if gap is not None:
            significant += 1
            covered += gap.low <= 50 <= gap.high
    assert significant > TIMES / 3
    assert 0.9 < covered / significant < 0.99
    without, method, teacher = world(random, 3, 0.5, 4.0, 3)
    assert gap_closed([scored(method)], [scored(without)], [scored(teacher[:, :1] - 9)], ("base", "finetune")) is None


def test_a_teacher_without_predictions_is_not_resampled():
    without, method = seeds(60.0, 61.0, 62.0), seeds(64.0, 66.0, 68.0)
    gap = gap_closed([method], [without], [seeds(71.0)], ("base", "finetune"))
    assert gap.closed == pytest.approx(50)
    assert gap.low < 50 < gap.high
