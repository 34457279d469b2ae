"""Intervals of scores on a task: on the logit scale, against the formula."""

import math

import numpy as np
import pytest
from scipy import stats

from harness.analysis.inference import Sample
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
    low, high = interval(given)
    assert (logit(low), logit(high)) == pytest.approx((logit(given.mean) - half, logit(given.mean) + half))
    assert bounds[0] < low < given.mean < high < bounds[1]


def test_fishers_z_is_half_a_logit_on_its_range():
    logit = Logit(-1.0, 1.0, 10**12)
    assert logit(np.array(0.7)) / 2 == pytest.approx(math.atanh(0.7))
    assert logit.inverse(2 * math.atanh(0.7)) == pytest.approx(0.7)


def test_intervals_stay_within_the_bounds():
    low, high = interval(sample([100.0, 99.0, 100.0], (0.0, 100.0)))
    assert low < 99.7 < high <= 100


def test_without_draws_or_bounds_the_interval_is_symmetric():
    values = np.array([80.0, 82.0, 90.0])
    low, high = interval(Sample((1, 2, 3), values, bounds=(0.0, 100.0)))
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((expected.low, expected.high))
    assert interval(Sample((1,), values[:1])) == (None, None)
