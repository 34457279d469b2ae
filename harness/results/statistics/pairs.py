"""The differences of all pairs of rows at once.

The variance of a difference is that of the one and of the other, less twice their covariance. So the resamples of each
row are read once, for one table of inner products, and not again for each of the other rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.results.statistics.inference import Estimate, Floats, Sample, apart

ROUNDING = 1e-13
"""What is less than this part of the variances that it is the difference of, is none."""


def differences(rows: Sequence[Sequence[Sample]]) -> list[Estimate]:
    """What ``estimate([a - b for a, b in zip(one, other)])`` gives for ``one, other`` in ``combinations(rows, 2)``.

    All rows are of the same tasks in the same order, with the same seeds, of which there are two or more.

    Raises:
        ValueError: they are not.
    """
    pairs = np.triu_indices(len(rows), 1)
    total, spread = np.zeros(len(pairs[0])), np.zeros(len(pairs[0]))
    mean, drawn, freedoms = np.zeros(len(rows)), np.ones(len(rows), dtype=bool), 0.0
    for samples in zip(*rows, strict=True):
        degrees = len(samples[0].values) - 1.0
        examples = np.array([sample.examples for sample in samples])
        of_seeds, of_examples = (table[pairs] / len(rows[0]) ** 2 for table in _variances(samples))
        total += of_seeds + of_examples
        spread += of_seeds**2 / degrees
        spread += of_examples**2 / np.maximum(np.minimum(examples[pairs[0]], examples[pairs[1]]) - 1.0, 1.0)
        mean += np.array([sample.mean for sample in samples]) / len(rows[0])
        drawn &= [sample.draws is not None for sample in samples]
        freedoms += degrees
    freedom = np.divide(total**2, spread, out=np.full_like(total, max(1.0, freedoms)), where=spread > 0)
    return [
        Estimate(difference, error, degrees, "seeds and examples" if both else "seeds")
        for difference, error, degrees, both in zip(
            (mean[pairs[0]] - mean[pairs[1]]).tolist(),
            np.sqrt(total).tolist(),
            freedom.tolist(),
            (drawn[pairs[0]] & drawn[pairs[1]]).tolist(),
            strict=True,
        )
    ]


def _variances(samples: Sequence[Sample]) -> tuple[Floats, Floats]:
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
    return apart(between, of_mean, alone, len(seeds))


def _of_differences(rows: Floats) -> Floats:
    """[rows, n] -> [rows, rows]: the variance of the difference of any two rows."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    products = centred @ centred.T / (rows.shape[1] - 1)
    both = np.add.outer(products.diagonal(), products.diagonal())
    found = both - 2 * products
    return np.where(found > ROUNDING * both, found, 0.0)
