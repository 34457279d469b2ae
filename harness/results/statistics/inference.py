"""How sure a score is: its standard error over seeds and examples, its interval, and the p-value of a difference.

A score is the mean over S seeds of a run's score on N examples. Two things could have come out otherwise, and the
variance of the mean is the sum of both:

- **examples**: the variance, over resamples of the examples, of what all seeds have in common. With V the variance of
  the resampled mean over the seeds, and W the mean over the seeds of the variance of each seed's resampled score, that
  is C = (S V - W) / (S - 1), but not below 0;
- **seeds**: s² / S, where s² is the variance of the seeds' scores, with S - 1 degrees of freedom. Each seed's own luck
  with the examples, W - C, is part of s²; so s² is taken to be at least that, and the sum is never less than V.

(Adding s² / S to V itself would count that luck twice, as the pigeonhole bootstrap of rows and columns does: Owen,
2007, arXiv 0712.1111.) The interval is mean ± t · standard error, where t has the degrees of freedom of a sum of
variances (Satterthwaite, 1946, Biometrics Bulletin 2(6)). To resample three seeds would give intervals that hold the
truth some 3 times in 4; t makes up for how little three values know of their own variance.

What is averaged over tasks has independent examples, and seeds that are taken for independent too (each task's runs are
trained apart), so that the variances add. Whatever is compared is paired: differences are taken run by run, seed by
seed and resample by resample, before any variance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL = 0.95
"""Of every interval."""

MOST = 1e5
"""Degrees of freedom; with more, t is the normal distribution to 5 digits."""

Over = Literal["seeds and examples", "seeds", "examples"]
"""What an interval says that might have been otherwise."""


@dataclass(frozen=True, eq=False)
class Sample:
    """The scores of a row of the board on one task, or what was computed of such.

    Attributes:
        seeds: in ascending order.
        values: [seeds], the scores.
        draws: [resamples, seeds], the scores on resampled examples: the same resamples for all that scored the same
            examples. None where the score could not be computed again.
        examples: how many were scored.
    """

    seeds: tuple[int, ...]
    values: Floats
    draws: Floats | None = field(default=None, repr=False)
    examples: int = 0

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    def __sub__(self, other: Sample) -> Sample:
        """Paired by seed and resample. What has a single seed, as a teacher, is compared with each of the other's.

        Raises:
            ValueError: their seeds are not the same.
        """
        if self.seeds != other.seeds and 1 not in (len(self.seeds), len(other.seeds)):
            raise ValueError(f"scores of the seeds {self.seeds} and {other.seeds} cannot be paired")
        seeds = max(self.seeds, other.seeds, key=len)
        drawn = None if self.draws is None or other.draws is None else self.draws - other.draws
        return Sample(seeds, self.values - other.values, drawn, min(self.examples, other.examples))

    def variances(self) -> tuple[float, float]:
        """Of the mean: what comes from the seeds (0 of one seed), and from the examples (0 without draws)."""
        n = len(self.values)
        between = float(self.values.var(ddof=1)) if n > 1 else 0.0
        if self.draws is None:
            return between / n, 0.0
        of_mean = float(self.draws.mean(axis=1).var(ddof=1))
        if n == 1:
            return 0.0, of_mean
        of_seeds, shared = apart(np.array(between), np.array(of_mean), self.draws.var(axis=0, ddof=1).mean(), n)
        return float(of_seeds), float(shared)


def apart(between: Floats, of_mean: Floats, alone: Floats, n: int) -> tuple[Floats, Floats]:
    """The variances of a mean over `n` seeds that come from the seeds and from the examples: of `between`, that of the
    seeds' scores, and over resamples `of_mean`, that of their mean, and `alone`, the mean of their own."""
    shared = np.maximum(0.0, (n * of_mean - alone) / (n - 1))
    return np.maximum(between, alone - shared) / n, shared


@dataclass(frozen=True)
class Estimate:
    """A mean, its standard `error` and the degrees of `freedom` of that; `over` says what the error takes in.

    `error` and `over` are None where nothing is known: one seed, and no draws.
    """

    mean: float
    error: float | None
    freedom: float
    over: Over | None

    def __neg__(self) -> Estimate:
        return replace(self, mean=-self.mean)

    @property
    def margin(self) -> float | None:
        """Half of the interval's length."""
        return None if self.error is None else t_quantile(self.freedom) * self.error

    @property
    def low(self) -> float | None:
        return None if self.margin is None else self.mean - self.margin

    @property
    def high(self) -> float | None:
        return None if self.margin is None else self.mean + self.margin

    @property
    def p(self) -> float | None:
        """Of the hypothesis that the mean is 0, two-sided."""
        if self.error is None:
            return None
        if self.error == 0:
            return float(self.mean == 0)
        return 1 - t_within(abs(self.mean) / self.error, self.freedom)


def estimate(samples: Sequence[Sample], shares: Sequence[float] | None = None) -> Estimate:
    """Of the mean over tasks, one sample each, in which they have these `shares`, by default equal ones. Raises
    `ValueError` for no sample."""
    if not samples:
        raise ValueError("there is no mean of no task")
    shares = [1 / len(samples)] * len(samples) if shares is None else shares
    terms: list[tuple[float, float]] = []
    for sample, share in zip(samples, shares, strict=True):
        of_seeds, of_examples = sample.variances()
        terms += [
            (share**2 * of_seeds, len(sample.values) - 1.0),
            (share**2 * of_examples, max(sample.examples - 1.0, 1.0)),
        ]
    total = math.fsum(variance for variance, _ in terms)
    spread = math.fsum(variance**2 / freedom for variance, freedom in terms if freedom and variance)
    seeds, draws = min(len(s.values) for s in samples) > 1, all(s.draws is not None for s in samples)
    over: Over | None = None
    if seeds or draws:
        over = "seeds and examples" if seeds and draws else "seeds" if seeds else "examples"
    freedom = total**2 / spread if spread else float(max(1, sum(len(s.values) - 1 for s in samples)))
    mean = math.fsum(share * sample.mean for sample, share in zip(samples, shares, strict=True))
    return Estimate(mean, math.sqrt(total) if over else None, freedom, over)


@cache
def t_quantile(freedom: float, level: float = LEVEL) -> float:
    """The t with P(-t < T < t) = level, for Student's T of `freedom` degrees, of which there is at least 1.

    By Newton's method on the angle of `_within`, which is concave: a step from below the root never goes beyond it.
    """
    freedom, angle, step = min(freedom, MOST), 0.0, 1.0
    while step > 1e-9 * angle:
        step = (level - _within(angle, freedom)) / (_factor(freedom) * math.cos(angle) ** (freedom - 1))
        angle += step
    return math.sqrt(freedom) * math.tan(angle)


def t_within(t: float, freedom: float) -> float:
    """P(-t < T < t) for Student's T of `freedom` degrees."""
    return min(1.0, _within(math.atan(t / math.sqrt(min(freedom, MOST))), freedom))


def _within(angle: float, freedom: float) -> float:
    """P(|T| < sqrt(freedom) tan(angle)): with that substitution the density is cos(angle)^(freedom - 1), up to a
    factor, which Gauss-Legendre quadrature integrates."""
    freedom = min(freedom, MOST)
    nodes, weights = _quadrature()
    end = min(angle, 12 / math.sqrt(freedom))  # beyond that there is nothing left of it
    integral = end / 2 * float(weights @ np.cos(end / 2 * (nodes + 1)) ** (freedom - 1))
    return _factor(freedom) * integral


def _factor(freedom: float) -> float:
    return 2 * math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)


@cache
def _quadrature() -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.legendre.leggauss(64)
    return nodes, weights
