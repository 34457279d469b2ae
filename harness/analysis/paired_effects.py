"""Mean scores and mean differences over several pairs of rows, for the main effects of a grid.

A report reads differences from `harness.analysis.row_differences`, which knows when their error is unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from harness.analysis.inference import Estimate, Sample, Scores, estimate, of_difference


def effect(ours: Sequence[Scores], theirs: Sequence[Scores]) -> Estimate:
    """The mean difference ``ours - theirs``: ``ours[i]`` is paired with ``theirs[i]``, task by task.

    Its seed variance is its own, not moderated: the variances of differences of two rows are no guide to that of a mean
    over several. Its interval is made like that of any difference, as of a test. It covers the examples if all samples
    have resampled scores; whether it must is known to `harness.analysis.row_differences`.

    Raises:
        ValueError: there is no pair, or numbers of tasks or seeds differ.
    """
    if not ours or len({len(scores) for scores in (*ours, *theirs)}) != 1 or len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} and {len(theirs)} scores cannot be paired")
    differences = [[a - b for a, b in zip(one, other, strict=True)] for one, other in zip(ours, theirs, strict=True)]
    found = replace(estimate([mean_of(task) for task in zip(*differences, strict=True)]), credit=1.0)
    return of_difference(found, size=max(abs(mean(scores)) for scores in (*ours, *theirs)))


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
