"""Formatting of scores, intervals, durations and other numbers for boards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # numpy and pyarrow, which a list of methods does not need
    from harness.analysis.inference import Estimate
    from harness.analysis.speed_up import SpeedUp
    from harness.analysis.suite_level import Gap
    from harness.analysis.summary import BoardRow, Statistic

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


def gap_closed(gap: Gap | None) -> str:
    """Format the closed share of a gap, as ``63 % [51, 74]``."""
    if gap is None:
        return NOTHING
    ends = "" if gap.low is None or gap.high is None else f" [{gap.low:.0f}, {gap.high:.0f}]"
    return f"{gap.closed:.0f} %{ends}"


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


def probability(p: float) -> str:
    """Format a p-value, as ``0.032`` or ``< 0.001``."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def millions(parameters: tuple[int, int] | None) -> str:
    """Format parameters in millions; a range as ``0.21–0.22`` if the tasks' heads change the printed number."""
    if parameters is None:
        return NOTHING
    digits = 1 if parameters[1] >= 10e6 else 2 if parameters[1] >= 1e6 else 3
    least, most = (f"{number / 1e6:.{digits}f}" for number in parameters)
    return least if least == most else f"{least}–{most}"


def duration(seconds: float | None) -> str:
    """Format seconds, as ``4.2 s``, ``12.3 min`` or ``2.1 h``."""
    if seconds is None:
        return NOTHING
    for unit, length in (("s", 1), ("min", 60)):
        if round(seconds / length, 1) < 60:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds / 3600:.1f} h"


def speed_up(row: BoardRow, column: SpeedUp) -> str:
    """Format a speed-up, as ``3.2× [3.1, 3.3]``; without an interval for the reference teacher itself."""
    ratio = column.of.get((row.role, row.student or row.label))
    if ratio is None:
        return NOTHING
    is_reference = row.role == "teacher" and row.label == column.reference
    ends = "" if ratio.low is None or is_reference else f" [{ratio.low:.1f}, {ratio.high:.1f}]"
    return f"{ratio.median:.1f}×{ends}"


def format_value(value: Any) -> str:
    """Format the value of a setting as a suite file writes it."""
    return value if isinstance(value, str) else json.dumps(value)
