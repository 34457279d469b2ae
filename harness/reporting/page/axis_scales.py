"""Axes: where a value lies in a plot, and which values are written beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """From values in [`low`, `high`] to places in [`start`, `end`]; logarithmic if so asked."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Round values within the scale, no more than `most` of them unless it is logarithmic over many decades."""
        if self.log:
            return _log_ticks(self.low, self.high, most)
        step = _step((self.high - self.low) / most)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(n * step, 10) for n in range(first, last + 1)]


def around(values: Iterable[float], start: float, end: float, *, log: bool = False, room: float = 0.06) -> Scale:
    """A scale that holds all values, with some room beside the outermost."""
    found = list(values)
    low, high = min(found), max(found)
    if log:
        pad = (high / low) ** room if high > low else 1.2
        return Scale(low / pad, high * pad, start, end, log=True)
    pad = (high - low) * room or max(abs(high) * 0.05, 1e-9)
    return Scale(low - pad, high + pad, start, end)


def label(value: float) -> str:
    """``12``, ``0.5``."""
    return f"{value:.10g}"


def _step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, ... that is no less."""
    unit = 10.0 ** math.floor(math.log10(least))
    return next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= least * (1 - 1e-9))


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 3, 4, 5, 6, 8), (1, 2, 5), (1, 3), (1,)):
        found = [f * 10.0**n for n in decades for f in factors if low <= f * 10.0**n <= high]
        if len(found) <= most:
            break
    return found if len(found) > 1 else Scale(low, high, 0, 1).ticks(most)
