"""Quantities with units."""

import pytest

from harness.api.errors import UserError
from harness.cli import quantities


@pytest.mark.parametrize(
    ("text", "seconds"), [("5ms", 0.005), ("0.5 s", 0.5), ("800us", 0.0008), ("800µs", 0.0008), (".5MS", 0.0005)]
)
def test_times(text, seconds):
    assert quantities.seconds(text, "--max-latency") == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "count"),
    [("20M", 20_000_000), ("1.5b", 1_500_000_000), ("500K", 500_000), ("66", 66), ("1_000_000", 10**6)],
)
def test_counts(text, count):
    assert quantities.count(text, "--max-params") == count


@pytest.mark.parametrize("text", ["", "5", "5 min", "ms", "-5ms", "0ms", "1e3ms", "nan"])
def test_times_that_are_none(text):
    with pytest.raises(UserError, match=r"--max-latency: .* is not a time such as 5ms"):
        quantities.seconds(text, "--max-latency")


@pytest.mark.parametrize("text", ["20MB", "many", "-1", "0", "10_M", "_M", "1__0", "_10M"])
def test_counts_that_are_none(text):
    with pytest.raises(UserError, match=r"--max-params: .* is not a number such as 20M"):
        quantities.count(text, "--max-params")
