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
    return mean(value) if value.margin is None else f"{mean(value)} ± {value.margin:.{value.decimals}f}"


def mean(value: Statistic) -> str:
    """Format a mean without its interval."""
    return f"{value.mean:.{value.decimals}f}"


def spread(value: Statistic | None) -> str:
    """Format the standard deviation over seeds."""
    return NOTHING if value is None or value.std is None else f"{value.std:.{value.decimals}f}"


def interval(value: Statistic | None) -> str:
    """Format a mean and its interval, as ``85.3 [84.9, 85.7]``."""
    if value is None:
        return NOTHING
    if value.low is None or value.high is None:
        return mean(value)
    return f"{mean(value)} [{value.low:.{value.decimals}f}, {value.high:.{value.decimals}f}]"


def signed(value: float, decimals: int = 1) -> str:
    """Format with a sign, as ``+0.4`` or ``-0.1``; a value that rounds to 0 is ``0.0``."""
    text = f"{value:+.{decimals}f}"
    return text if float(text) else text[1:]


def signed_interval(mean: float, low: float | None, high: float | None, decimals: int = 1) -> str:
    """Format a signed mean and its interval; without interval if there is none."""
    if low is None or high is None:
        return signed(mean, decimals)
    return f"{signed(mean, decimals)} [{signed(low, decimals)}, {signed(high, decimals)}]"


def difference(estimate: Estimate, decimals: int = 1) -> str:
    """Format a difference and its interval, as ``-0.4 [-0.9, +0.1]``.

    One whose interval excludes 0 is never printed as 0: it has more decimals, as ``-0.03 [-0.05, -0.01]``.
    """
    while estimate.clear and not float(f"{estimate.mean:.{decimals}f}"):
        decimals += 1
    return signed_interval(estimate.mean, estimate.low, estimate.high, decimals)
