"""Percentiles, paired ratios and the coverage of intervals."""

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import binom

from harness.storage.latency_records import LatencyRecord, median_interval, paired_ratio
from tests.support.latency_factory import latency_record, timing


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_values_have_no_interval(n):
    assert median_interval([1.0] * n) is None


@pytest.mark.parametrize("n", [6, 7, 10, 25, 50, 101, 1000])
def test_the_interval_is_the_narrowest_with_95_percent_coverage(n):
    low, high = median_interval([float(i) for i in range(1, n + 1)])
    k = int(low)
    assert high == n + 1 - k
    assert 1 - 2 * binom.cdf(k - 1, n, 0.5) >= 0.95
    assert 1 - 2 * binom.cdf(k, n, 0.5) < 0.95


def test_the_coverage_of_the_interval():
    """For a skewed distribution with a long tail, like times; its median is 1."""
    draw = np.random.default_rng(7)
    intervals = [median_interval(np.exp(draw.standard_t(2, size=30)).tolist()) for _ in range(2000)]
    coverage = np.mean([low <= 1 <= high for low, high in intervals])
    assert 0.95 <= coverage <= 0.985  # exactly 0.957


def test_error_rate_for_two_copies_and_power_for_a_slower_model():
    draw = np.random.default_rng(11)

    def times(scale):
        return (scale * 1e6 * np.exp(0.1 * draw.standard_normal(50))).astype(int).tolist()

    copies = [paired_ratio(times(1.0), times(1.0)) for _ in range(400)]
    assert 0 < sum(ratio.excludes_one for ratio in copies) <= 0.06 * 400
    slower = [paired_ratio(times(1.25), times(1.0)) for _ in range(50)]
    assert all(ratio.low > 1 and ratio.excludes_one for ratio in slower)
    assert all(ratio.inverse.high < 1 and ratio.inverse.low <= ratio.inverse.median for ratio in slower)


def test_ratios_are_paired_by_round():
    ratio = paired_ratio([10, 200, 30, 400, 50, 600], [20, 400, 60, 800, 100, 1200])
    assert (ratio.median, ratio.low, ratio.high) == (0.5, 0.5, 0.5)
    assert ratio.excludes_one


def test_too_few_rounds_have_no_interval():
    assert not paired_ratio([10, 10], [20, 20]).excludes_one


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("n", [1, 2, 7, 10])
def test_percentiles_match_numpy(share, n):
    values = np.random.default_rng(n).integers(1, 10**9, n)
    percentile = timing("a", nanoseconds=values.tolist()).percentile(share)
    assert percentile == pytest.approx(np.percentile(values, 100 * share) / 1e9)


def test_a_control_is_compared_with_its_original():
    record = latency_record(times={"base": 100, "small": 50, "small (second copy)": 55})
    ratios = {t.model: record.ratio(t).median for t in record.timings}
    assert ratios == pytest.approx({"base": 1.0, "small": 0.5, "small (second copy)": 1.1})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": "nobody"}, "the reference 'nobody' is not one of them"),
        ({"parts": {"packages": ["torch"]}}, "parts.packages: expected a mapping"),
        ({"timings": [timing("base"), timing("base")]}, "duplicate timing"),
        ({"timings": [timing("stranger")]}, "unknown model"),
        ({"timings": [timing("base"), timing("small")]}, "expected a time of every model in every round"),
        (
            {"timings": [timing("base"), timing("small"), timing("small (second copy)", nanoseconds=[1, 2])]},
            "expected a time of every model in every round",
        ),
    ],
)
def test_an_inconsistent_record_is_refused(change, message):
    valid = latency_record().model_dump()
    with pytest.raises(ValidationError, match=message):
        LatencyRecord.model_validate(valid | change)
