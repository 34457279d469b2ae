"""The differences of all pairs of rows at once, with moderated seed variances.

The variance of a difference is the sum of both variances minus twice the covariance. So one matrix of inner products of
the resampled scores serves all pairs.

**Moderation.** Three seeds estimate a variance badly: with 2 degrees of freedom, some of 28 pairs have by chance an
estimate that is 50 times too small, and these are the pairs that Holm's method examines. As in limma (Smyth, 2004,
Statistical Applications in Genetics and Molecular Biology 3(1)), the seed variance V of each pair (f degrees of
freedom) is combined with the mean V0 over all pairs of rows,

    (d0 V0 + f V) / (d0 + f),    with d0 + f degrees of freedom,

the posterior mean of a variance with a scaled inverse chi-squared prior of d0 degrees of freedom. limma estimates d0
from thousands of genes. From 2 to 20 rows it cannot be estimated: the estimate is often infinite, which means pooling,
and pooling fails if one method has six times the variance of the others (family-wise error 7 to 12 %). So d0 is fixed
at 4, a prior in which standard deviations differ by a factor of about 1.5 either way. With few rows it is smaller: d0 +
f is at most the degrees of freedom of all rows together, so two rows get an exact paired t-test.

In these formulas f is Satterthwaite's for the sum over tasks of the mean variance over all pairs. The f of a single
pair would be least reliable for the pairs with an underestimated variance.

**Tests and intervals.** Tests of all pairs together moderate in both directions: the error rate of the family is that
of all pairs. The interval of one pair must hold for this pair, and if the seeds of one row vary more than those of
others, intervals of its pairs that are moderated like the tests cover 78 to 89 %. So intervals moderate upwards only: a
small variance from few seeds is not trusted, a large one is. Where V is larger than V0, the interval is that of the
pair alone, with Satterthwaite's degrees of freedom of its own variances.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.analysis.inference import (
    Estimate,
    Sample,
    Scores,
    Variances,
    components,
    examples_freedom,
    of_difference,
    satterthwaite,
)
from harness.analysis.student_t import MOST, Floats

Bools = NDArray[np.bool_]

PRIOR = 4.0
"""d0, chosen by simulation: see docs/decisions/0004-statistics.md."""

ROUNDING = 1e-13
"""A variance of a difference that is smaller than this share of the two variances is set to 0."""


class Difference(NamedTuple):
    """The mean difference of two rows, estimated with two seed variances (see the module's docstring).

    Attributes:
        stated: with the interval of this pair.
        tested: for the test of all pairs together.
    """

    stated: Estimate
    tested: Estimate


def differences(rows: Sequence[Scores], unusual: Collection[int] = ()) -> list[Difference]:
    """The estimated mean differences ``one - other`` for ``one, other`` in ``combinations(rows, 2)``.

    Args:
        rows: for each row its samples, with the same tasks in the same order, and the same two or more seeds.
        unusual: indices of rows (with collapsed seeds) that are excluded from the mean V0 of the moderation.

    Raises:
        ValueError: the seeds differ, or there is one seed.
    """
    parts = pair_parts(rows)
    seeds, mean, one, other = parts.seeds, parts.means, parts.one, parts.other
    own = seeds.sum(axis=0)
    same = (mean[one] == mean[other]) & (own == 0)  # rows that share the same runs
    usual = _usual(len(rows), unusual, repeated=other[same])
    pool = usual[one] & usual[other]
    moderated, freedom = moderate(seeds, parts.freedoms, pool, int(usual.sum()))
    moderated[same] = 0.0
    large = own > own[pool].mean()
    alone = _rounded(satterthwaite(seeds, parts.freedoms[:, None]))
    tested = _estimates(rows, parts, moderated, np.full_like(own, freedom))
    stated = _estimates(rows, parts, np.where(large, own, moderated), np.where(large, alone, freedom))
    return [Difference(*both) for both in zip(stated, tested, strict=True)]


def _usual(count: int, unusual: Collection[int], repeated: NDArray[np.intp]) -> Bools:
    """Which rows V0 is the mean of: [count]. Unusual rows count if fewer than two others are left.

    `repeated` are rows that share the runs of an earlier row: their pairs tell nothing more.
    """
    distinct = ~np.isin(np.arange(count), repeated)
    usual: Bools = distinct & ~np.isin(np.arange(count), list(unusual))
    for rows in (usual, distinct):
        if rows.sum() >= 2:
            return rows
    return np.ones(count, bool)


def _estimates(rows: Sequence[Scores], parts: PairParts, seeds: Floats, freedoms: Floats) -> list[Estimate]:
    """The differences with the seed variances `seeds`. Both arrays: [pairs]."""
    freedom_of_examples = examples_freedom(
        [sample.examples for row in rows for sample in row if sample.draws is not None]
    )
    return [
        of_difference(
            Estimate(
                mean=float(parts.means[a] - parts.means[b]),
                variances=Variances(seeds[pair], parts.examples[:, pair].sum(), parts.luck[:, pair].sum()),
                freedom=float(freedoms[pair]),
                examples_freedom=freedom_of_examples,
                over="seeds and examples" if parts.resampled[a] and parts.resampled[b] else "seeds",
            ),
            size=float(max(abs(parts.means[a]), abs(parts.means[b]))),
        )
        for pair, (a, b) in enumerate(zip(parts.one, parts.other, strict=True))
    ]


def moderate(seeds: Floats, freedoms: Floats, pool: Bools, rows: int) -> tuple[Floats, float]:
    """Sum seed variances over tasks and moderate them towards the mean over pairs (see the module's docstring).

    Args:
        seeds: [tasks, pairs], the seed variances of the differences.
        freedoms: [tasks], their degrees of freedom.
        pool: [pairs], the pairs whose mean is V0.
        rows: the number of rows of these pairs.

    Returns:
        the moderated sums [pairs], and their degrees of freedom.
    """
    pooled = seeds[:, pool]
    freedom = float(satterthwaite(pooled.mean(axis=1), freedoms))
    prior = min(PRIOR, (rows - 2) * freedom)
    moderated: Floats = (prior * pooled.sum(axis=0).mean() + freedom * seeds.sum(axis=0)) / (prior + freedom)
    return moderated, float(_rounded(np.array(prior + freedom)))


def _rounded(freedoms: Floats) -> Floats:
    """Rounded down, so that there are few distinct values: quantiles are cached by degrees of freedom."""
    rounded: Floats = np.minimum(np.floor(20 * freedoms) / 20, MOST)
    return rounded


@dataclass(frozen=True)
class PairParts:
    """What the mean differences of all pairs of rows are estimated from.

    Attributes:
        one, other: [pairs], the indices of the rows of each pair, in ascending order.
        seeds, examples, luck: [tasks, pairs], the components of `Variances` of each task's share of the difference.
        freedoms: [tasks], the degrees of freedom of `seeds`.
        means: [rows], the means over the tasks.
        resampled: [rows], whether a row has resampled scores on all tasks.
    """

    one: NDArray[np.intp]
    other: NDArray[np.intp]
    seeds: Floats
    examples: Floats
    luck: Floats
    freedoms: Floats
    means: Floats
    resampled: Bools


def pair_parts(rows: Sequence[Scores]) -> PairParts:
    """Return the parts of all pairs of `rows`. Arguments and errors are those of `differences`."""
    one, other = np.triu_indices(len(rows), 1)
    tasks = list(zip(*rows, strict=True))
    tables = [pair_variances(samples) for samples in tasks]
    seeds, examples, luck = (
        np.stack([table[part][one, other] for table in tables]) / len(tasks) ** 2 for part in range(3)
    )
    return PairParts(
        one=one,
        other=other,
        seeds=seeds,
        examples=examples,
        luck=luck,
        freedoms=np.array([len(samples[0].values) - 1.0 for samples in tasks]),
        means=np.mean([[sample.mean for sample in samples] for samples in tasks], axis=0),
        resampled=np.all([[sample.draws is not None for sample in samples] for samples in tasks], axis=0),
    )


def pair_variances(samples: Sequence[Sample]) -> Variances:
    """[rows, rows] each: `Sample.variances` of the difference of any two rows on one task."""
    seeds = samples[0].seeds
    if len(seeds) < 2 or any(sample.seeds != seeds for sample in samples):
        raise ValueError(f"scores of the seeds {sorted({sample.seeds for sample in samples})} cannot be paired")
    between = _of_differences(np.stack([sample.values for sample in samples]))
    of_mean, alone = np.zeros_like(between), np.zeros_like(between)
    if resampled := {row: sample.draws for row, sample in enumerate(samples) if sample.draws is not None}:
        draws, block = np.stack(list(resampled.values())), np.ix_(list(resampled), list(resampled))
        of_mean[block] = _of_differences(draws.mean(axis=2))
        alone[block] = np.mean([_of_differences(draws[:, :, seed]) for seed in range(len(seeds))], axis=0)
    return components(between, of_mean, alone, len(seeds))


def _of_differences(rows: Floats) -> Floats:
    """[rows, n] -> [rows, rows]: the variance of the difference of any two rows."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    products = centred @ centred.T / (rows.shape[1] - 1)
    both = np.add.outer(products.diagonal(), products.diagonal())
    variances = both - 2 * products
    return np.where(variances > ROUNDING * both, variances, 0.0)
