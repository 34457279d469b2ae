"""Linear and logarithmic axis scales with their ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Maps values in [`low`, `high`] to coordinates in [`start`, `end`], logarithmically if `log`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Return round values within the scale: at most `most`, or more on a logarithmic scale over many decades."""
        if self.log:
            return _log_ticks(self.low, self.high, most)
        step = _step((self.high - self.low) / most)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(n * step, 10) for n in range(first, last + 1)]


def around(values: Iterable[float], start: float, end: float, *, log: bool = False, margin: float = 0.06) -> Scale:
    """Return a scale that covers all values, padded at both ends by `margin`, a share of their range."""
    known = list(values)
    low, high = min(known), max(known)
    if log:
        pad = (high / low) ** margin if high > low else 1.2
        return Scale(low / pad, high * pad, start, end, log=True)
    pad = (high - low) * margin or max(abs(high) * 0.05, 1e-9)
    return Scale(low - pad, high + pad, start, end)


def label(value: float) -> str:
    """Format a tick label, as ``12`` or ``0.5``."""
    return f"{value:.10g}"


def _step(least: float) -> float:
    """Return the smallest of ..., 1, 2, 5, 10, ... that is at least `least`."""
    unit = 10.0 ** math.floor(math.log10(least))
    return next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= least * (1 - 1e-9))


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 3, 4, 5, 6, 8), (1, 2, 5), (1, 3), (1,)):
        ticks = [f * 10.0**n for n in decades for f in factors if low <= f * 10.0**n <= high]
        if len(ticks) <= most:
            break
    return ticks if len(ticks) > 1 else Scale(low, high, 0, 1).ticks(most)
