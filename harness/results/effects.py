"""The statistics of a report's comparisons: differences that are paired by seed, and their intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

LEVEL = 0.95
"""Of every interval."""

Scores = Mapping[int, float]
"""Seed -> score."""

EXPLAINED = (
    "In brackets: the 95 % t interval over the seeds, of each seed's mean difference between pairs that agree in all "
    "that is not compared (task, seed, student, options): mean ± t(n - 1) · s / √n. It says how far other seeds might move a "
    "difference on these tasks and examples, and is not corrected for the number of comparisons."
)
"""What `Effect.low` and `Effect.high` are, for whoever reads a report."""

TOO_FEW = "no intervals: they need 2+ seeds"


@dataclass(frozen=True)
class Effect:
    """A mean difference over `seeds` seeds and its interval, which one seed has not."""

    mean: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def clear(self) -> bool:
        """Whether the interval is there and leaves out 0."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def effect(ours: Sequence[Scores], theirs: Sequence[Scores]) -> Effect:
    """How much higher `ours` score than `theirs`: ``ours[i]`` is paired with ``theirs[i]``, seed by seed.

    Raises:
        ValueError: no pair, or scores whose seeds are not the same.
    """
    seeds = {tuple(sorted(scores)) for scores in (*ours, *theirs)}
    if len(seeds) != 1 or len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} and {len(theirs)} scores of the seeds {sorted(seeds)} cannot be paired")
    by_seed = [
        statistics.fmean(own[seed] - their[seed] for own, their in zip(ours, theirs, strict=True))
        for seed in next(iter(seeds))
    ]
    mean = statistics.fmean(by_seed)
    if len(by_seed) < 2:
        return Effect(mean, None, None, len(by_seed))
    margin = t_quantile(len(by_seed) - 1) * statistics.stdev(by_seed) / math.sqrt(len(by_seed))
    return Effect(mean, mean - margin, mean + margin, len(by_seed))


@cache
def t_quantile(freedom: int, level: float = LEVEL) -> float:
    """The t with P(-t < T < t) = level, for Student's T of `freedom` degrees, to the last digits of a float."""
    low, high = 0.0, math.pi / 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < level else (low, middle)
    return math.sqrt(freedom) * math.tan((low + high) / 2)


def _within(angle: float, freedom: int) -> float:
    """P(|T| < sqrt(freedom) tan(angle)): Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3-4."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = total = (cosine if odd else 1.0) if freedom > 1 else 0.0
    for j in range(2 + odd, freedom - 1, 2):
        term *= (j - 1) / j * cosine**2
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
