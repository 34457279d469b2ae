"""How sure a score is: its standard error over seeds and examples, its interval, and the p-value of a difference.

**Model.** The score of a method m on task k with seed s, on N examples, is

    y[m,k,s] = mu[m,k] + a[m,k,s] + c[m,k] + e[m,k,s]

with the method's effect mu fixed, and three independent random effects of mean 0: the seed's, a; that of the examples
which all seeds share, c; and that of the examples drawn anew for each seed, e (which examples a seed gets right by
luck). The mean over S seeds has the variance C + (A + L) / S, where A, C, L are the variances of a, c and e.

**Estimates.** Resampling the examples gives C and L with many degrees of freedom: with V the variance over resamples
of the mean over the seeds, and W the mean over the seeds of the variance of each one's resampled score,
C = max(0, (S V - W) / (S - 1)) and L = W - C. The variance s^2 of the seeds' scores estimates A + L, with S - 1 degrees
of freedom. (Adding s^2 / S to V would count L twice, as the pigeonhole bootstrap of rows and columns does: Owen, 2007,
arXiv 0712.1111.)

**Intervals.** The half-width h at error rate p is

    h^2 = z^2 C + max(z^2 L, t^2 s^2) / S

with t the quantile of Student's distribution with the degrees of freedom of s^2, and z that with those of C and L
(about the normal one). For L = 0 this is the interval of Banerjee (1960, Sankhya 22), whose coverage is at least 1 - p
whatever the ratio A / C is; it is exact where one of the two is 0. (One t with Satterthwaite's degrees of freedom for
the whole sum has no such bound: where s^2 happens to be small beside C, it takes the normal quantile for a sum that
the seeds dominate: 8 equal methods with 3 seeds are told apart on up to 31 % of simulated boards.)

Where L is not 0 this is conservative: at 3 seeds and A = 0 a 95 % interval covers 98.7 %. Intervals of scores
therefore subtract (1 + 2 / f) z^2 L from t^2 s^2, not z^2 L, which gives 94.1 to 98.0 % with 3 or more seeds. Tests do
not.

What is averaged over tasks has independent examples and seeds (each task's runs are trained apart), so that variances
add; the degrees of freedom of the sum of the seeds' variances alone are Satterthwaite's (1946, Biometrics Bulletin
2(6)). Whatever is compared is paired: differences are taken run by run, seed by seed and resample by resample, before
any variance.
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
"""Of every interval."""

Over = Literal["seeds and examples", "seeds", "examples"]
"""What an interval says that might have been otherwise."""


class Variances(NamedTuple):
    """Components of the variance of a mean over seeds: single numbers, or arrays of the same shape.

    Attributes:
        seeds: s^2 / S, which includes `luck`; 0 of one seed.
        examples: C, what all seeds share of the examples.
        luck: L / S, what the examples drawn anew for each seed add.
    """

    seeds: Floats
    examples: Floats
    luck: Floats

    @property
    def total(self) -> Floats:
        found: Floats = self.examples + np.maximum(self.seeds, self.luck)
        return found


@dataclass(frozen=True, eq=False)
class Sample:
    """The scores of a row of the board on one task, or what was computed of such.

    Attributes:
        seeds: in ascending order.
        values: [seeds], the scores.
        draws: [resamples, seeds], the scores on resampled examples: the same resamples for all that scored the same
            examples. None where the score could not be computed again.
        examples: how many were scored.
        bounds: the least and greatest score that the metric can give, if known. A difference has none.
    """

    seeds: tuple[int, ...]
    values: Floats
    draws: Floats | None = field(default=None, repr=False)
    examples: int = 0
    bounds: tuple[float, float] | None = None

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

    def variances(self) -> Variances:
        """Of the mean over the seeds; without draws only the seeds' part is known."""
        n = len(self.values)
        between, zero = self.values.var(ddof=1) if n > 1 else np.array(0.0), np.array(0.0)
        if self.draws is None:
            return Variances(between / n, zero, zero)
        of_mean = self.draws.mean(axis=1).var(ddof=1)
        if n == 1:
            return Variances(zero, of_mean, zero)
        return components(between, of_mean, self.draws.var(axis=0, ddof=1).mean(), n)


def components(between: Floats, of_mean: Floats, alone: Floats, n: int) -> Variances:
    """Of a mean over `n` seeds, of `between`, the variance of the seeds' scores, and over resamples `of_mean`, that of
    their mean, and `alone`, the mean of their own."""
    shared = np.maximum(0.0, (n * of_mean - alone) / (n - 1))
    return Variances(between / n, shared, np.maximum(0.0, alone - shared) / n)


def satterthwaite(variances: Floats, freedoms: Floats, axis: int = 0) -> Floats:
    """Degrees of freedom of a sum of independent variances over `axis`. Where all are 0: the sum of the freedoms."""
    scale = variances.max(axis=axis, keepdims=True)
    parts = np.divide(variances, scale, out=np.ones_like(variances), where=scale > 0)
    freedoms = np.maximum(freedoms, 1.0)
    found: Floats = np.clip(parts.sum(axis=axis) ** 2 / (parts**2 / freedoms).sum(axis=axis), 1.0, MOST)
    return found


@dataclass(frozen=True)
class Estimate:
    """A mean, and what its interval is made of (see above).

    Attributes:
        variances: of the mean. `over` says which of them are known: None where none is.
        freedom: degrees of freedom of the seeds' variance.
        examples_freedom: of those of the examples.
        credit: how many times z^2 L is subtracted from t^2 s^2: 1, or `credit` in intervals of scores.
    """

    mean: float
    variances: Variances
    freedom: float
    examples_freedom: float
    over: Over | None
    credit: float = 1.0

    def __neg__(self) -> Estimate:
        return replace(self, mean=-self.mean)

    @property
    def error(self) -> float | None:
        """The standard error."""
        return None if self.over is None else math.sqrt(self.variances.total)

    @cached_property
    def margin(self) -> float | None:
        """Half of the 95 % interval's length."""
        return None if self.over is None else self._half_width(1 - LEVEL)

    @property
    def low(self) -> float | None:
        return None if self.margin is None else self.mean - self.margin

    @property
    def high(self) -> float | None:
        return None if self.margin is None else self.mean + self.margin

    @property
    def multiplier(self) -> float:
        """What the interval's half-width is of the standard error."""
        return self.margin / self.error if self.margin and self.error else critical(1 - LEVEL, self.freedom)

    @property
    def p(self) -> float | None:
        """Of the hypothesis that the mean is 0: see `p_values`."""
        return p_values([self])[0]

    def _half_width(self, p: float) -> float:
        return float(half_widths([self], critical(p, self.freedom), critical(p, self.examples_freedom))[0])


def half_widths(estimates: Sequence[Estimate], t: Floats | float, z: Floats | float) -> Floats:
    """Half-widths of the intervals whose quantiles for the seeds and the examples are `t` and `z`, [estimates, ...]."""
    t2, z2 = np.square(t), np.square(z)
    seeds, examples, luck = (
        np.array([each.variances[part] for each in estimates], dtype=float).reshape(-1, *[1] * np.ndim(t2))
        for part in range(3)
    )
    credit = np.array([each.credit for each in estimates]).reshape(seeds.shape)
    found: Floats = np.sqrt(z2 * (examples + luck) + np.maximum(0.0, t2 * seeds - credit * z2 * luck))
    return found


def p_values(estimates: Sequence[Estimate]) -> list[float | None]:
    """Two-sided p-values of the hypotheses that the means are 0: the error rate at which an interval ends at 0, from
    `SMALLEST` to 1. None where nothing is known of a mean's error.

    Half-widths are computed on a grid of error rates, with 0.05 on it, and interpolated between them, to some 4 digits
    of p.
    """
    found: list[float | None] = [None] * len(estimates)
    groups: dict[tuple[float, float], list[int]] = {}
    for index, each in enumerate(estimates):
        if each.over is not None:
            groups.setdefault((each.freedom, each.examples_freedom), []).append(index)
    for (freedom, examples_freedom), members in groups.items():
        of_group = [estimates[index] for index in members]
        widths = half_widths(of_group, _on_grid(freedom), _on_grid(examples_freedom))
        for index, each, width in zip(members, of_group, widths, strict=True):
            found[index] = 1.0 if each.mean == 0 else math.exp(np.interp(abs(each.mean), width, np.log(_grid())))
    return found


@cache
def _grid() -> Floats:
    """Error rates from 1 down to `SMALLEST`: steps of some 0.02 normal quantiles down to 1e-9, wider ones below."""
    z = np.concatenate([np.arange(1, 306) / 50, np.geomspace(6.15, 14.0, 40)])
    p = tail(z, MOST)
    found: Floats = np.concatenate([[1.0], np.sort(np.append(p[p > SMALLEST], [1 - LEVEL, SMALLEST]))[::-1]])
    return found


@lru_cache(maxsize=1024)
def _on_grid(freedom: float) -> Floats:
    """Quantiles at the error rates of `_grid`."""
    found: Floats = np.concatenate([[0.0], quantile(_grid()[1:], freedom)])
    return found


def credit(freedom: float) -> float:
    """How many times z^2 L an interval of a score subtracts (see above)."""
    return 1 + 2 / freedom


def estimate(samples: Sequence[Sample], shares: Sequence[float] | None = None) -> Estimate:
    """Of the mean over tasks, one sample each, in which they have these `shares`, by default equal ones. Raises
    `ValueError` for no sample."""
    if not samples:
        raise ValueError("there is no mean of no task")
    weights = np.full(len(samples), 1 / len(samples)) if shares is None else np.array(shares)
    parts = [sample.variances() for sample in samples]
    seeds, examples, luck = (weights**2 * np.array([each[part] for each in parts]) for part in range(3))
    freedom = float(satterthwaite(seeds, np.array([len(sample.values) - 1.0 for sample in samples])))
    several, drawn = min(len(s.values) for s in samples) > 1, all(s.draws is not None for s in samples)
    over: Over | None = None
    if several or drawn:
        over = "seeds and examples" if several and drawn else "seeds" if several else "examples"
    return Estimate(
        mean=float(weights @ [sample.mean for sample in samples]),
        variances=Variances(seeds.sum(), examples.sum(), luck.sum()),
        freedom=freedom,
        examples_freedom=examples_freedom([sample.examples for sample in samples if sample.draws is not None]),
        over=over,
        credit=credit(freedom),
    )


def examples_freedom(counts: Sequence[int]) -> float:
    """Degrees of freedom of the examples' variances: those of the task with the fewest examples."""
    return float(max(1, min(counts) - 1)) if counts else MOST
