"""Intervals of scores and averages on the logit scale, against the formulas."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from harness.analysis.inference import Sample, estimate
from harness.analysis.score_intervals import Logit, interval


def sample(values, bounds, examples=200):
    random, values = np.random.default_rng(0), np.array(values, dtype=float)
    noise = random.normal(size=(400, 1)) + random.normal(size=(400, len(values)))
    return Sample(tuple(range(len(values))), values, np.clip(values + noise, *bounds), examples, bounds)


@pytest.mark.parametrize("bounds", [(0.0, 100.0), (-100.0, 100.0)])
def test_the_interval_equals_the_formula(bounds):
    given, count = sample([82.0, 85.0, 93.0], bounds), 3

    def logit(score):
        share = (score - bounds[0]) / (bounds[1] - bounds[0])
        return math.log((share * 200 + 0.5) / 201 / (1 - (share * 200 + 0.5) / 201))

    values = [logit(value) for value in given.values]
    draws = np.array([[logit(value) for value in row] for row in given.draws])
    v, w = np.var(draws.mean(axis=1), ddof=1), np.mean(np.var(draws, axis=0, ddof=1))
    shared = (count * v - w) / (count - 1)
    luck, seeds = (w - shared) / count, np.var(values, ddof=1) / count
    t, z = stats.t.ppf(0.975, 2), stats.t.ppf(0.975, 199)
    half = math.sqrt(z**2 * (shared + luck) + max(0, t**2 * seeds - 2 * z**2 * luck))  # 1 + 2 / f = 2
    low, high = interval([given])
    assert (logit(low), logit(high)) == pytest.approx((logit(given.mean) - half, logit(given.mean) + half))
    assert bounds[0] < low < given.mean < high < bounds[1]


def test_fishers_z_is_half_a_logit_on_its_range():
    logit = Logit(-1.0, 1.0, 10**12)
    assert logit(np.array(0.7)) / 2 == pytest.approx(math.atanh(0.7))
    assert logit.inverse(2 * math.atanh(0.7)) == pytest.approx(0.7)


def test_intervals_stay_within_the_bounds():
    low, high = interval([sample([100.0, 99.0, 100.0], (0.0, 100.0))])
    assert low < 99.7 < high <= 100


def test_without_draws_or_bounds_the_interval_is_symmetric():
    values = np.array([80.0, 82.0, 90.0])
    low, high = interval([Sample((1, 2, 3), values, bounds=(0.0, 100.0))])
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((expected.low, expected.high))
    assert interval([Sample((1,), values[:1])]) == (None, None)


def logit(score, bounds, examples=200):
    share = ((score - bounds[0]) / (bounds[1] - bounds[0]) * examples + 0.5) / (examples + 1)
    return math.log(share / (1 - share))


def score_of(value, bounds, examples=200):
    share = (1 / (1 + math.exp(-value)) * (examples + 1) - 0.5) / examples
    return bounds[0] + (bounds[1] - bounds[0]) * min(1.0, max(0.0, share))


def parts(values, draws):
    """s^2 / S, C and L / S of a mean over S seeds."""
    count = len(values)
    v = np.var([sum(row) / count for row in draws], ddof=1)
    w = sum(np.var([row[seed] for row in draws], ddof=1) for seed in range(count)) / count
    shared = max(0.0, (count * v - w) / (count - 1))
    return np.var(values, ddof=1) / count, shared, max(0.0, w - shared) / count


@pytest.mark.parametrize("without", [None, 1, 0])
def test_the_interval_of_an_average_equals_the_formula(without):
    """Zou and Donner's combination, with Satterthwaite's degrees of freedom of the average. `without`: a task without
    bounds, whose interval is symmetric."""
    given = [sample([97.0, 98.0, 99.5], (0.0, 100.0)), sample([82.0, 85.0, 93.0], (-100.0, 100.0))]
    given = [replace(one, bounds=None) if task == without else one for task, one in enumerate(given)]
    seeds = [parts(one.values, one.draws)[0] for one in given]
    freedom = sum(seeds) ** 2 / sum(variance**2 / 2 for variance in seeds)
    t, z, credit = stats.t.ppf(0.975, freedom), stats.t.ppf(0.975, 199), 1 + 2 / freedom
    below = above = 0.0
    for one in given:
        there = (lambda score, bounds: score) if one.bounds is None else logit
        back = (lambda value, bounds: value) if one.bounds is None else score_of
        values = [there(value, one.bounds) for value in one.values]
        between, shared, luck = parts(values, [[there(value, one.bounds) for value in row] for row in one.draws])
        half = math.sqrt(z**2 * (shared + luck) + max(0.0, t**2 * between - credit * z**2 * luck))
        centre = there(one.mean, one.bounds)
        below += ((one.mean - back(centre - half, one.bounds)) / 2) ** 2
        above += ((back(centre + half, one.bounds) - one.mean) / 2) ** 2
    mean = sum(one.mean for one in given) / 2
    assert interval(given) == pytest.approx((mean - math.sqrt(below), mean + math.sqrt(above)))
    assert below > above


def test_the_average_of_tasks_without_bounds_has_a_symmetric_interval():
    given = [replace(sample(values, (0.0, 100.0)), bounds=None) for values in ([80.0, 82.0, 90.0], [70.0, 71.0, 75.0])]
    assert interval(given) == (estimate(given).low, estimate(given).high)
    assert interval([given[0], Sample((1,), np.array([80.0]))]) == (None, None), "the error of one task is unknown"
