"""Detects collapsed seeds: training that ended at a constant answer, or a score far outside of all others.

If some seeds of a method collapse, its scores have two modes, and an interval computed from mean and variance does not
have its nominal coverage (if a quarter of the seeds collapses, 95 % intervals from three seeds cover the mean in less
than 70 % of cases). Such rows are marked. A collapse that no observed seed shows cannot be detected: if each of 3 seeds
collapses with probability 1/4, none does in 42 % of cases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.analysis.inference import Sample
from harness.analysis.student_t import critical

Bools = NDArray[np.bool_]

APART = 3.0
"""Least gap between collapsed seeds and the others, in standard deviations of the example effects."""

GROSS = 5.0
"""Least deviation of an outlier, in standard deviations."""

ERROR = 0.01
"""Probability that any score of a task counts as an outlier, if all are normal with equal variance."""


def find_collapsed(
    rows: Sequence[Sample], constant: float | None, *, higher_is_better: bool = True
) -> list[tuple[int, ...]]:
    """The collapsed seeds of each row on one task.

    Args:
        rows: the samples of all rows of one student.
        constant: the score of the best constant answer, on the scale of `rows`; None if it is not known.
    """
    count = sum(len(sample.values) for sample in rows)
    seeds = []
    for index, sample in enumerate(rows):
        collapsed = _outliers(sample, [*rows[:index], *rows[index + 1 :]], count)
        if constant is not None:
            collapsed |= _at_constant(sample, constant, 1 if higher_is_better else -1)
        seeds.append(tuple(seed for seed, flag in zip(sample.seeds, collapsed, strict=True) if flag))
    return seeds


def _at_constant(sample: Sample, constant: float, sign: int) -> Bools:
    """[seeds] Whether a seed scores within one standard error of a constant answer while others are clearly better.

    All False if every seed does: then the method learns nothing.
    """
    scores = sign * sample.values
    errors = 0.0 if sample.draws is None else sample.draws.std(axis=0, ddof=1)
    low = scores <= sign * constant + errors
    if low.all() or not low.any():
        return np.zeros(len(scores), dtype=bool)
    separated = scores[~low].min() - scores[low].max() > APART * _example_spread(sample)
    return low if separated else np.zeros(len(scores), dtype=bool)


def _example_spread(sample: Sample) -> float:
    """Standard deviation of the score difference of two equally good seeds on the same examples."""
    return math.sqrt(2 * len(sample.values) * float(sample.variances().luck))


def _outliers(sample: Sample, others: Sequence[Sample], count: int) -> Bools:
    """[seeds] Whether the externally studentized residual of a score exceeds `GROSS` and Bonferroni's quantile.

    The layout is one-way with `count` scores on the task. The residual is the deviation from the mean of the row's
    other seeds, divided by the standard deviation within all rows without this score (Cook and Weisberg, 1982,
    Residuals and Influence in Regression, 2.2.1).
    """
    n = len(sample.values)
    freedom = sum(len(other.values) - 1 for other in others) + n - 2
    if n < 2 or freedom < 2:
        return np.zeros(n, dtype=bool)
    squares = math.fsum(float(((other.values - other.mean) ** 2).sum()) for other in others)
    outliers = []
    for seed, value in enumerate(sample.values):
        rest = np.delete(sample.values, seed)
        variance = (squares + ((rest - rest.mean()) ** 2).sum()) / freedom
        scale = math.sqrt(max(variance, _example_spread(sample) ** 2 / 2) * (1 + 1 / (n - 1)))
        outliers.append(abs(value - rest.mean()) > max(GROSS, critical(ERROR / count, freedom)) * scale)
    return np.array(outliers)
