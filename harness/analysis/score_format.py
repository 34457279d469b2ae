"""Formatting of scores, their differences and intervals, the same in tables, texts and figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # numpy, which a list of methods does not need
    from harness.analysis.inference import Estimate
    from harness.analysis.summary import Statistic

NOTHING = "–"
"""Printed where there is no value."""


def score(value: Statistic | None) -> str:
    """Format a mean and its interval: ``85.3 ± 0.4`` with its longer side, or ``99.4 [79.8, 99.9]`` if it is skewed."""
    if value is None:
        return NOTHING
    if value.skewed:
        return interval(value)
    return f"{value.mean:.1f}" if value.margin is None else f"{value.mean:.1f} ± {value.margin:.1f}"


def spread(value: Statistic | None) -> str:
    """Format the standard deviation over seeds."""
    return NOTHING if value is None or value.std is None else f"{value.std:.1f}"


def bracketed(mean: float, low: float | None, high: float | None) -> str:
    """Format a mean and its interval, as ``85.3 [84.9, 85.7]``."""
    return f"{mean:.1f}" if low is None or high is None else f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def interval(value: Statistic | None) -> str:
    """Format a statistic as `bracketed` does."""
    return NOTHING if value is None else bracketed(value.mean, value.low, value.high)


def signed(value: float) -> str:
    """Format with a sign, as ``+0.4`` or ``-0.1``; a value that rounds to 0 is ``0.0``."""
    text = f"{value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def signed_interval(mean: float, low: float | None, high: float | None) -> str:
    """Format a signed mean and its interval; without interval if there is none."""
    return signed(mean) if low is None or high is None else f"{signed(mean)} [{signed(low)}, {signed(high)}]"


def difference(estimate: Estimate) -> str:
    """Format a difference and its interval, as ``-0.4 [-0.9, +0.1]``."""
    return signed_interval(estimate.mean, estimate.low, estimate.high)
