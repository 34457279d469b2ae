"""Numbers and values of settings as a board prints them."""

from __future__ import annotations

import json
from typing import Any

from harness.analysis.inference import Estimate
from harness.analysis.speed_up import SpeedUp
from harness.analysis.suite_level import Gap
from harness.analysis.summary import Row, Statistic

NOTHING = "–"


def score(value: Statistic | None) -> str:
    """``85.3 ± 0.4``: the mean and half of its interval; without ± where there is none."""
    if value is None:
        return NOTHING
    return f"{value.mean:.1f}" if value.margin is None else f"{value.mean:.1f} ± {value.margin:.1f}"


def spread(value: Statistic | None) -> str:
    """The standard deviation over seeds."""
    return NOTHING if value is None or value.std is None else f"{value.std:.1f}"


def bracketed(mean: float, low: float | None, high: float | None) -> str:
    """``85.3 [84.9, 85.7]``."""
    return f"{mean:.1f}" if low is None or high is None else f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def interval(value: Statistic | None) -> str:
    """The same of a statistic."""
    return NOTHING if value is None else bracketed(value.mean, value.low, value.high)


def gap_closed(gap: Gap | None) -> str:
    """``63 % [51, 74]``."""
    if gap is None:
        return NOTHING
    known = "" if gap.low is None or gap.high is None else f" [{gap.low:.0f}, {gap.high:.0f}]"
    return f"{gap.closed:.0f} %{known}"


def signed(value: float) -> str:
    """``+0.4``, ``-0.1``; what prints as nothing has no sign."""
    text = f"{value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def difference(found: Estimate) -> str:
    """``-0.4 [-0.9, +0.1]``."""
    if found.low is None or found.high is None:
        return signed(found.mean)
    return f"{signed(found.mean)} [{signed(found.low)}, {signed(found.high)}]"


def probability(p: float) -> str:
    """``0.032``, ``< 0.001``."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def millions(parameters: tuple[int, int] | None) -> str:
    """Parameters in millions; ``0.21–0.22`` where the tasks' heads make a difference that shows."""
    if parameters is None:
        return NOTHING
    digits = 1 if parameters[1] >= 10e6 else 2 if parameters[1] >= 1e6 else 3
    least, most = (f"{number / 1e6:.{digits}f}" for number in parameters)
    return least if least == most else f"{least}–{most}"


def duration(seconds: float | None) -> str:
    """``4.2 s``, ``12.3 min``, ``2.1 h``."""
    if seconds is None:
        return NOTHING
    for unit, length in (("s", 1), ("min", 60)):
        if round(seconds / length, 1) < 60:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds / 3600:.1f} h"


def speed_up(row: Row, column: SpeedUp) -> str:
    """``3.2× [3.1, 3.3]``; the teacher that all are compared with has no interval."""
    found = column.of.get((row.role, row.student or row.label))
    if found is None:
        return NOTHING
    alone = found.low is None or (row.role == "teacher" and row.label == column.reference)
    return f"{found.median:.1f}×" + ("" if alone else f" [{found.low:.1f}, {found.high:.1f}]")


def format_value(value: Any) -> str:
    """A setting's value as a suite would write it."""
    return value if isinstance(value, str) else json.dumps(value)
