"""Paired mean differences with intervals, for the comparison sections of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import floor

import numpy as np

from harness.analysis.inference import (
    Estimate,
    Sample,
    Variances,
    credit,
    estimate,
    examples_freedom,
    satterthwaite,
)
from harness.analysis.pairwise import pair_parts

Scores = Sequence[Sample]
"""The scores of a row on each task, in the same order for all rows that are compared."""

INTERVAL_NOTE = (
    "In brackets: the 95 % interval of the paired difference over {covers}. Pairs agree in everything that is not "
    "compared (task, seed, example, student, options). It is not corrected for the number of comparisons."
)
"""Explains `Effect.low` and `Effect.high`. `covers`: see `harness.analysis.interval_coverage`."""

ONE_SEED_NOTE = "With one seed, an interval covers the examples alone and says nothing about other seeds."


@dataclass(frozen=True)
class Effect:
    """A mean difference over `seeds` seeds with its 95 % interval.

    The interval is None if the error is unknown: there is one seed and no resampled scores, or only one of the two
    sides has resampled scores, so that the variance over examples of the difference is unknown.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: int

    def __neg__(self) -> Effect:
        low, high = (None if end is None else -end for end in (self.high, self.low))
        return Effect(-self.mean, low, high, self.seeds)

    @property
    def clear(self) -> bool:
        """Whether the interval is known and excludes 0."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def effect(ours: Sequence[Scores], theirs: Sequence[Scores]) -> Effect:
    """The mean difference ``ours - theirs``: ``ours[i]`` is paired with ``theirs[i]``, task by task.

    Raises:
        ValueError: there is no pair, or numbers of tasks or seeds differ.
    """
    if not ours or len({len(scores) for scores in (*ours, *theirs)}) != 1 or len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} and {len(theirs)} scores cannot be paired")
    differences = [[a - b for a, b in zip(one, other, strict=True)] for one, other in zip(ours, theirs, strict=True)]
    by_task = [mean_of(task) for task in zip(*differences, strict=True)]
    difference = estimate(by_task)
    low, high = difference.low, difference.high
    if any(_one_is_resampled(one, other) for one, other in zip(ours, theirs, strict=True)):
        low = high = None
    return Effect(difference.mean, low, high, len(by_task[0].seeds))


def effects_of_pairs(rows: Sequence[Scores]) -> dict[tuple[int, int], Effect]:
    """The mean differences ``one - other`` of all pairs of rows, as `effect` gives them but much faster.

    Args:
        rows: for each row its scores on the same tasks. All rows have the same seeds, two or more.

    Returns:
        (index of one, index of other) -> effect, for each pair in ascending order.
    """
    parts = pair_parts(rows)
    freedoms = satterthwaite(parts.seeds, parts.freedoms[:, None])
    counts = np.array([[sample.examples for sample in row] for row in rows])
    effects: dict[tuple[int, int], Effect] = {}
    for pair, (a, b) in enumerate(zip(parts.one.tolist(), parts.other.tolist(), strict=True)):
        freedom = floor(20 * float(freedoms[pair])) / 20  # few distinct values: quantiles are cached
        known = bool(parts.resampled[a] and parts.resampled[b])
        difference = Estimate(
            mean=float(parts.means[a] - parts.means[b]),
            variances=Variances(*(part[:, pair].sum() for part in (parts.seeds, parts.examples, parts.luck))),
            freedom=freedom,
            examples_freedom=examples_freedom(np.minimum(counts[a], counts[b]).tolist() if known else []),
            over="seeds and examples" if known else "seeds",
            credit=credit(freedom),
        )
        low, high = (None, None) if _one_is_resampled(rows[a], rows[b]) else (difference.low, difference.high)
        effects[a, b] = Effect(difference.mean, low, high, len(rows[a][0].seeds))
    return effects


def _one_is_resampled(one: Scores, other: Scores) -> bool:
    """Whether on some task only one of two rows has resampled scores."""
    return any((a.draws is None) != (b.draws is None) for a, b in zip(one, other, strict=True))


def mean(scores: Scores) -> float:
    """The mean score over tasks and seeds."""
    return float(np.mean([sample.mean for sample in scores]))


def mean_of(samples: Sequence[Sample]) -> Sample:
    """The mean of samples of one task, seed by seed and resample by resample.

    Raises:
        ValueError: their seeds differ.
    """
    first, *others = samples
    if any(sample.seeds != first.seeds for sample in others):
        raise ValueError(f"scores of the seeds {sorted({sample.seeds for sample in samples})} cannot be paired")
    known = [sample.draws for sample in samples if sample.draws is not None]
    draws = np.mean(known, axis=0) if len(known) == len(samples) else None
    return replace(first, values=np.mean([sample.values for sample in samples], axis=0), draws=draws)
