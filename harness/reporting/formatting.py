"""Formatting of p-values, sizes, durations and other numbers for boards. Scores: `harness.analysis.score_format`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from harness.analysis.score_format import NOTHING

if TYPE_CHECKING:  # numpy and pyarrow, which a list of methods does not need
    from harness.analysis.speed_up import SpeedUp
    from harness.analysis.suite_level import Gap
    from harness.analysis.summary import BoardRow


def gap_closed(gap: Gap | None) -> str:
    """Format the closed share of a gap, as ``63 % [51, 74]``."""
    if gap is None:
        return NOTHING
    ends = "" if gap.low is None or gap.high is None else f" [{gap.low:.0f}, {gap.high:.0f}]"
    return f"{gap.closed:.0f} %{ends}"


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
