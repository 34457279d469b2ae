"""Describe which rows of a board read cached teacher outputs, and why others run the teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

GB = 10**9
"""Bytes in the unit of `teacher_cache.max_gb`."""


@dataclass(frozen=True)
class CacheDecision:
    """The decision whether one teacher's outputs on one task are cached.

    Attributes:
        cached: rows of the board that read cached teacher outputs.
        gb: size of the cached outputs of one teacher, in GB (1e9 bytes).
        epochs: the largest number of passes over the data that any row makes in one order of the examples.
        orders: number of orders over all seeds.
        teachers: number of teachers, one per seed; `gb` and `orders` hold for each.
        fresh: reason -> the rows that run the teacher instead of reading the cache.
    """

    task: str
    teacher: str
    cached: tuple[str, ...]
    gb: float
    epochs: float
    orders: int
    fresh: Mapping[str, tuple[str, ...]]
    teachers: int = 1


def describe(decision: CacheDecision) -> str:
    """Return the text of a decision, for `harness plan`."""
    parts = []
    if decision.cached:
        times = f"{_number(decision.epochs, 'epoch')} x {_number(decision.orders, 'order')}"
        passes = f"1 pass instead of {decision.epochs * decision.orders:.3g}"
        of_each = f" of each of {decision.teachers} teachers" if decision.teachers > 1 else ""
        parts.append(f"{times}; {gigabytes(decision.gb)}{of_each} cached for {', '.join(decision.cached)}, {passes}")
    parts += [f"fresh for {', '.join(rows)}: {reason}" for reason, rows in decision.fresh.items()]
    return f"{decision.teacher} on {decision.task}: {'; '.join(parts)}"


def _number(count: float, noun: str) -> str:
    return f"{count:.3g} {noun}{'' if count == 1 else 's'}"


def gigabytes(gb: float) -> str:
    """A size for a message, in MB if it is small."""
    return f"{gb:.1f} GB" if gb >= 0.1 else f"{gb * 1000:.1f} MB"
