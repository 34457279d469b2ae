"""The differences of all pairs of rows at once, with moderated seed variances.

The variance of a difference is that of the one and of the other, less twice their covariance. So the resamples of each
row are read once, for one table of inner products, and not again for each of the other rows.

**Moderation.** Three seeds know little of a variance: with 2 degrees of freedom, some of 28 pairs have by chance one
that is 50 times too small, and Holm's method looks at just those. As in limma (Smyth, 2004, Statistical Applications
in Genetics and Molecular Biology 3(1)) each pair's seed variance V (f degrees of freedom) is combined with the mean
V0 over all pairs of rows,

    (d0 V0 + f V) / (d0 + f),    with d0 + f degrees of freedom,

the posterior mean of a variance with a scaled inverse chi-squared prior of d0 degrees of freedom. limma estimates d0
from thousands of genes; from 2 to 20 rows it cannot be told (the estimate is often infinite, which is pooling, and
fails where one method's variance is another's sixfold: family-wise error 7 to 12 %). So d0 is fixed: at 4, a prior in
which standard deviations differ by a factor of about 1.5 either way. It is less where rows are few: together no more
degrees of freedom than all rows have, so that two rows have their own variance alone, and an exact paired t-test.

f is Satterthwaite's for the sum over tasks, of each task's mean over the pairs: a single pair's would be least sure
exactly where it matters.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.analysis.inference import Estimate, Sample, Variances, components, examples_freedom, satterthwaite
from harness.analysis.student_t import MOST, Floats

Bools = NDArray[np.bool_]

PRIOR = 4.0
"""d0, chosen by simulation: see docs/results.md."""

ROUNDING = 1e-13
"""What is less than this part of the variances that it is the difference of, is none."""


def differences(rows: Sequence[Sequence[Sample]], unusual: Collection[int] = ()) -> list[Estimate]:
    """The estimated mean differences ``one - other`` for ``one, other`` in ``combinations(rows, 2)``.

    All rows are of the same tasks in the same order, with the same seeds, of which there are two or more. Those whose
    place is in `unusual` (their seeds collapsed) are left out of the mean that variances are moderated towards.

    Raises:
        ValueError: they are not.
    """
    one, other = np.triu_indices(len(rows), 1)
    tasks = list(zip(*rows, strict=True))
    tables = [_variances(samples) for samples in tasks]
    seeds, examples, luck = (
        np.stack([table[part][one, other] for table in tables]) / len(tasks) ** 2 for part in range(3)
    )
    mean = np.mean([[sample.mean for sample in samples] for samples in tasks], axis=0)
    drawn = np.all([[sample.draws is not None for sample in samples] for samples in tasks], axis=0)
    usual = ~np.isin(np.arange(len(rows)), list(unusual))
    if usual.sum() < 2:
        usual[:] = True
    same = (mean[one] == mean[other]) & (seeds.sum(axis=0) == 0)  # rows that stand for the same runs
    pool = usual[one] & usual[other] & ~same
    freedoms = np.array([len(samples[0].values) - 1.0 for samples in tasks])
    moderated, freedom = moderate(seeds, freedoms, pool, int(usual.sum()))
    moderated[same] = 0.0
    of_examples = examples_freedom([s.examples for samples in tasks for s in samples if s.draws is not None])
    return [
        Estimate(
            mean=float(mean[a] - mean[b]),
            variances=Variances(moderated[pair], examples[:, pair].sum(), luck[:, pair].sum()),
            freedom=freedom,
            examples_freedom=of_examples,
            over="seeds and examples" if drawn[a] and drawn[b] else "seeds",
        )
        for pair, (a, b) in enumerate(zip(one, other, strict=True))
    ]


def moderate(seeds: Floats, freedoms: Floats, pool: Bools, rows: int) -> tuple[Floats, float]:
    """Seed variances [tasks, pairs] of differences, with `freedoms` [tasks]: their sums [pairs], moderated towards the
    mean of the pairs in `pool` [pairs], which are of so many `rows`, and the degrees of freedom of these."""
    pooled = seeds[:, pool] if pool.any() else seeds
    own = float(satterthwaite(pooled.mean(axis=1), freedoms))
    prior = min(PRIOR, (rows - 2) * own)
    found: Floats = (prior * pooled.sum(axis=0).mean() + own * seeds.sum(axis=0)) / (prior + own)
    return found, min(math.floor(20 * (prior + own)) / 20, MOST)  # few distinct values, whose quantiles are cached


def _variances(samples: Sequence[Sample]) -> Variances:
    """[rows, rows]: `Sample.variances` of the difference of any two rows on one task."""
    seeds = samples[0].seeds
    if len(seeds) < 2 or any(sample.seeds != seeds for sample in samples):
        raise ValueError(f"scores of the seeds {sorted({sample.seeds for sample in samples})} cannot be paired")
    between = _of_differences(np.stack([sample.values for sample in samples]))
    of_mean, alone = np.zeros_like(between), np.zeros_like(between)
    if found := {row: sample.draws for row, sample in enumerate(samples) if sample.draws is not None}:
        draws, there = np.stack(list(found.values())), np.ix_(list(found), list(found))
        of_mean[there] = _of_differences(draws.mean(axis=2))
        alone[there] = np.mean([_of_differences(draws[:, :, seed]) for seed in range(len(seeds))], axis=0)
    return components(between, of_mean, alone, len(seeds))


def _of_differences(rows: Floats) -> Floats:
    """[rows, n] -> [rows, rows]: the variance of the difference of any two rows."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    products = centred @ centred.T / (rows.shape[1] - 1)
    both = np.add.outer(products.diagonal(), products.diagonal())
    found = both - 2 * products
    return np.where(found > ROUNDING * both, found, 0.0)
