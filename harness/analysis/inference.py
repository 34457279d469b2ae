"""Standard errors and intervals of scores over seeds and examples, and p-values of differences.

**Model.** The score of a method m on task k with seed s, on N examples, is

    y[m,k,s] = mu[m,k] + a[m,k,s] + c[m,k] + e[m,k,s]

with a fixed method effect mu and three independent random effects of mean 0: the seed effect a; the example effect c
that all seeds share; and the example effect e that is drawn anew for each seed (which examples a seed gets right by
luck). The mean over S seeds has the variance C + (A + L) / S, where A, C, L are the variances of a, c and e.

**Estimates.** Resampling the examples gives C and L with many degrees of freedom. Let V be the variance over resamples
of the mean over the seeds, and W the mean over the seeds of the variance over resamples of each seed's score. Then
C = max(0, (S V - W) / (S - 1)) and L = W - C. The variance s^2 of the seeds' scores estimates A + L, with S - 1 degrees
of freedom. (Adding s^2 / S to V would count L twice, as the pigeonhole bootstrap of rows and columns does: Owen, 2007,
arXiv 0712.1111.)

**Intervals.** The half-width h at error rate p is

    h^2 = z^2 C + max(z^2 L, t^2 s^2) / S

where t is the quantile of Student's distribution with the degrees of freedom of s^2, and z the quantile with those of C
and L (close to normal). For L = 0 this is the interval of Banerjee (1960, Sankhya 22): its coverage is at least 1 - p
for any ratio A / C, and exact if A or C is 0. (A single t with Satterthwaite's degrees of freedom for the whole sum has
no such bound: if s^2 happens to be small compared with C, it uses the normal quantile although the seeds dominate the
true variance. With 8 equal methods and 3 seeds, it finds a difference on up to 31 % of simulated boards.)

For L > 0 this is conservative: with 3 seeds and A = 0, a 95 % interval covers 98.7 %. Intervals of scores therefore
subtract (1 + 2 / f) z^2 L instead of z^2 L from t^2 s^2, with f the degrees of freedom of s^2. With 3 or more seeds
they cover 94.1 to 98.0 %. Tests subtract z^2 L.

Tasks have independent examples and seeds (the runs of each task are trained separately), so variances add over tasks.
The sum of the seed variances has Satterthwaite's degrees of freedom (1946, Biometrics Bulletin 2(6)). Comparisons are
paired: differences are taken seed by seed and resample by resample, before any variance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, lru_cache
from typing import Literal, NamedTuple

import numpy as np

from harness.analysis.student_t import MOST, SMALLEST, Floats, critical, quantile, tail

LEVEL = 0.95
"""Confidence level of all intervals."""

NEGLIGIBLE = 1e-6
"""Scores that differ by a smaller share are equal: predictions reproduce the score of a record up to this share, and
boards print at most six digits."""

Over = Literal["seeds and examples", "seeds", "examples"]
"""The sources of variation that an interval covers."""


class Variances(NamedTuple):
    """Components of the variance of a mean over seeds: scalars, or arrays of equal shape.

    Attributes:
        seeds: s^2 / S, which includes `luck`; 0 for one seed.
        examples: C, of the example effect that all seeds share.
        luck: L / S, of the example effect that is drawn anew for each seed.
    """

    seeds: Floats
    examples: Floats
    luck: Floats

    @property
    def total(self) -> Floats:
        total: Floats = self.examples + np.maximum(self.seeds, self.luck)
        return total


@dataclass(frozen=True, eq=False)
class Sample:
    """The scores of a row on one task, or differences or ratios of such scores.

    Attributes:
        seeds: in ascending order.
        values: [seeds], the scores.
        draws: [resamples, seeds], the scores on resampled examples, with the same resamples for all rows of a task.
            None if the score could not be recomputed from predictions.
        examples: number of examples.
        bounds: least and greatest value of the metric, if known; None for a difference.
    """

    seeds: tuple[int, ...]
    values: Floats
    draws: Floats | None = field(default=None, repr=False)
    examples: int = 0
    bounds: tuple[float, float] | None = None

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    def pairs_with(self, other: Sample) -> bool:
        """Whether the seeds are equal, or one sample has one seed (a teacher): it is paired with every seed."""
        return self.seeds == other.seeds or 1 in (len(self.seeds), len(other.seeds))

    def __sub__(self, other: Sample) -> Sample:
        """The difference, paired by seed and resample (see `pairs_with`).

        Raises:
            ValueError: the seeds differ.
        """
        if not self.pairs_with(other):
            raise ValueError(f"scores of the seeds {self.seeds} and {other.seeds} cannot be paired")
        seeds = max(self.seeds, other.seeds, key=len)
        draws = None if self.draws is None or other.draws is None else self.draws - other.draws
        return Sample(seeds, self.values - other.values, draws, min(self.examples, other.examples))

    def variances(self) -> Variances:
        """The variance components of the mean over the seeds. Without draws, only `seeds` is not 0."""
        return self._variances

    @cached_property
    def _variances(self) -> Variances:
        n = len(self.values)
        between, zero = self.values.var(ddof=1) if n > 1 else np.array(0.0), np.array(0.0)
        if self.draws is None:
            return Variances(between / n, zero, zero)
        of_mean = self.draws.mean(axis=1).var(ddof=1)
        if n == 1:
            return Variances(zero, of_mean, zero)
        return components(between, of_mean, self.draws.var(axis=0, ddof=1).mean(), n)


Scores = Sequence[Sample]
"""The scores of a row on each task, in the same order for all rows that are compared."""


def components(between: Floats, of_mean: Floats, alone: Floats, n: int) -> Variances:
    """The variance components of a mean over `n` seeds (see "Estimates" above).

    Args:
        between: s^2, the variance of the seeds' scores.
        of_mean: V, the variance over resamples of the mean over the seeds.
        alone: W, the mean over the seeds of the variance over resamples of each seed's score.
    """
    shared = np.maximum(0.0, (n * of_mean - alone) / (n - 1))
    return Variances(between / n, shared, np.maximum(0.0, alone - shared) / n)


def satterthwaite(variances: Floats, freedoms: Floats) -> Floats:
    """Satterthwaite's degrees of freedom of the sum over the first axis of independent variances with `freedoms` each.

    If all variances are 0: the sum of the degrees of freedom.
    """
    scale = variances.max(axis=0, keepdims=True)
    parts = np.divide(variances, scale, out=np.ones_like(variances), where=scale > 0)
    freedoms = np.maximum(freedoms, 1.0)
    combined: Floats = np.clip(parts.sum(axis=0) ** 2 / (parts**2 / freedoms).sum(axis=0), 1.0, MOST)
    return combined


@dataclass(frozen=True)
class Estimate:
    """A mean with its variance components (see the module's docstring).

    Attributes:
        variances: of the mean.
        freedom: degrees of freedom of the seed variance.
        examples_freedom: degrees of freedom of the example variances.
        over: the components that are known; None if none is, so there is no interval.
        credit: the factor of z^2 L that is subtracted from t^2 s^2: 1, or `credit(f)` for intervals of scores.
        repeated: the error is unknown because the difference is the same with every seed: see `of_difference`.
    """

    mean: float
    variances: Variances
    freedom: float
    examples_freedom: float
    over: Over | None
    credit: float = 1.0
    repeated: bool = False

    def __neg__(self) -> Estimate:
        return replace(self, mean=-self.mean)

    @property
    def error(self) -> float | None:
        """The standard error."""
        return None if self.over is None else math.sqrt(self.variances.total)

    @cached_property
    def margin(self) -> float | None:
        """Half-width of the 95 % interval."""
        if self.over is None:
            return None
        t, z = (critical(1 - LEVEL, freedom) for freedom in (self.freedom, self.examples_freedom))
        return float(half_widths([self], t, z)[0])

    @property
    def low(self) -> float | None:
        return None if self.margin is None else self.mean - self.margin

    @property
    def high(self) -> float | None:
        return None if self.margin is None else self.mean + self.margin

    @property
    def clear(self) -> bool:
        """Whether the 95 % interval is known and excludes 0."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    @property
    def multiplier(self) -> float:
        """Half-width of the 95 % interval divided by the standard error."""
        return self.margin / self.error if self.margin and self.error else critical(1 - LEVEL, self.freedom)

    @property
    def p(self) -> float | None:
        """The p-value of the hypothesis that the mean is 0: see `p_values`."""
        return p_values([self])[0]


def half_widths(estimates: Sequence[Estimate], t: Floats | float, z: Floats | float) -> Floats:
    """[estimates, ...]: half-widths of intervals, for the quantiles `t` of the seeds and `z` of the examples."""
    t2, z2 = np.square(t), np.square(z)
    seeds, examples, luck = (
        np.array([estimate.variances[part] for estimate in estimates], dtype=float).reshape(-1, *[1] * np.ndim(t2))
        for part in range(3)
    )
    credit = np.array([estimate.credit for estimate in estimates]).reshape(seeds.shape)
    widths: Floats = np.sqrt(z2 * (examples + luck) + np.maximum(0.0, t2 * seeds - credit * z2 * luck))
    return widths


def p_values(estimates: Sequence[Estimate]) -> list[float | None]:
    """Two-sided p-values of the hypotheses that the means are 0, from `SMALLEST` to 1.

    A p-value is the error rate at which the interval ends at 0. Half-widths are computed on a grid of error rates that
    contains 0.05, and interpolated, to about 4 digits of p.

    Returns:
        one per estimate; None if the error of the mean is unknown.
    """
    ps: list[float | None] = [None] * len(estimates)
    groups: dict[tuple[float, float], list[int]] = {}
    for index, estimate in enumerate(estimates):
        if estimate.over is not None:
            groups.setdefault((estimate.freedom, estimate.examples_freedom), []).append(index)
    for (freedom, examples_freedom), indices in groups.items():
        group = [estimates[index] for index in indices]
        widths = half_widths(group, _on_grid(freedom), _on_grid(examples_freedom))
        for index, estimate, width in zip(indices, group, widths, strict=True):
            mean = abs(estimate.mean)
            ps[index] = 1.0 if mean == 0 else math.exp(np.interp(mean, width, np.log(_grid())))
    return ps


@cache
def _grid() -> Floats:
    """Error rates from 1 down to `SMALLEST`: steps of 0.02 normal quantiles down to 1e-9, wider steps below."""
    z = np.concatenate([np.arange(1, 306) / 50, np.geomspace(6.15, 14.0, 40)])
    p = tail(z, MOST)
    rates: Floats = np.concatenate([[1.0], np.sort(np.append(p[p > SMALLEST], [1 - LEVEL, SMALLEST]))[::-1]])
    return rates


@lru_cache(maxsize=1024)
def _on_grid(freedom: float) -> Floats:
    """Quantiles at the error rates of `_grid`."""
    quantiles: Floats = np.concatenate([[0.0], quantile(_grid()[1:], freedom)])
    return quantiles


def credit(freedom: float) -> float:
    """The factor of z^2 L that is subtracted in the interval of a score (see "Intervals" above)."""
    return 1 + 2 / freedom


def estimate(samples: Sequence[Sample], shares: Sequence[float] | None = None) -> Estimate:
    """Estimate the mean over tasks from one sample per task.

    Args:
        shares: the weights of the tasks, which sum to 1; equal by default.

    Raises:
        ValueError: `samples` is empty.
    """
    if not samples:
        raise ValueError("cannot average over an empty list of tasks")
    weights = np.full(len(samples), 1 / len(samples)) if shares is None else np.array(shares)
    parts = [sample.variances() for sample in samples]
    seeds, examples, luck = (weights**2 * np.array([variances[part] for variances in parts]) for part in range(3))
    freedom = float(satterthwaite(seeds, np.array([len(sample.values) - 1.0 for sample in samples])))
    several, resampled = min(len(s.values) for s in samples) > 1, all(s.draws is not None for s in samples)
    over: Over | None = None
    if several or resampled:
        over = "seeds and examples" if several and resampled else "seeds" if several else "examples"
    return Estimate(
        mean=float(weights @ [sample.mean for sample in samples]),
        variances=Variances(seeds.sum(), examples.sum(), luck.sum()),
        freedom=freedom,
        examples_freedom=examples_freedom([sample.examples for sample in samples if sample.draws is not None]),
        over=over,
        credit=credit(freedom),
    )


def of_difference(estimate: Estimate, size: float) -> Estimate:
    """The estimate of a difference of scores, as far as they say anything.

    Equal scores differ by 0, whatever the rounding error: without a variance it would be the most significant of all
    differences. A difference that is the same with every seed, over seeds alone, has no known error: with few seeds and
    coarse scores, that happens by chance.

    Args:
        size: magnitude of the scores.
    """
    least = NEGLIGIBLE * size
    if abs(estimate.mean) <= least:
        return replace(estimate, mean=0.0)
    if estimate.over == "seeds" and estimate.variances.total <= least**2:
        return replace(estimate, over=None, repeated=True)
    return estimate


def examples_freedom(counts: Sequence[int]) -> float:
    """Degrees of freedom of the example variances, from the task with the fewest examples."""
    return float(max(1, min(counts) - 1)) if counts else MOST
