"""The statistics of a report's comparisons: paired differences and their intervals, as the board itself has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.analysis.inference import Estimate, Sample, estimate

Scores = Sequence[Sample]
"""A row's scores on each task of a scope, in the same order for all that are compared."""

INTERVAL_NOTE = (
    "In brackets: the 95 % interval of the difference over {covers}, of pairs that agree in all that is not "
    "compared (task, seed, example, student, options). It is not corrected for the number of comparisons."
)
"""What `Effect.low` and `Effect.high` are. `covers`: see `harness.analysis.interval_coverage`."""

ONE_SEED_NOTE = "With one seed an interval is over the examples alone, and does not say what other seeds would do."


@dataclass(frozen=True)
class Effect:
    """A mean difference over `seeds` seeds and its interval, which is None where nothing tells how sure it is."""

    mean: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def clear(self) -> bool:
        """Whether the interval is there and leaves out 0."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def effect(ours: Sequence[Scores], theirs: Sequence[Scores]) -> Effect:
    """How much higher `ours` score than `theirs`: ``ours[i]`` is paired with ``theirs[i]``, task by task.

    Raises:
        ValueError: no pair, or scores of other tasks or seeds.
    """
    if not ours or len({len(scores) for scores in (*ours, *theirs)}) != 1 or len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} and {len(theirs)} scores cannot be paired")
    differences = [[a - b for a, b in zip(own, their, strict=True)] for own, their in zip(ours, theirs, strict=True)]
    by_task = [mean_of(task) for task in zip(*differences, strict=True)]
    return _told(estimate(by_task), len(by_task[0].seeds))


def mean(scores: Scores) -> float:
    """Over tasks and seeds."""
    return float(np.mean([sample.mean for sample in scores]))


def mean_of(samples: Sequence[Sample]) -> Sample:
    """The mean of samples of one task with the same seeds, seed by seed and resample by resample."""
    first, *others = samples
    if any(sample.seeds != first.seeds for sample in others):
        raise ValueError(f"scores of the seeds {sorted({sample.seeds for sample in samples})} cannot be paired")
    drawn = [sample.draws for sample in samples if sample.draws is not None]
    draws = np.mean(drawn, axis=0) if len(drawn) == len(samples) else None
    return replace(first, values=np.mean([sample.values for sample in samples], axis=0), draws=draws)


def _told(found: Estimate, seeds: int) -> Effect:
    return Effect(found.mean, found.low, found.high, seeds)
