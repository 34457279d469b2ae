"""Detects seeds that collapsed: training that ended at a constant answer, or a score far outside of all others.

If some of a method's seeds collapse, its scores have two peaks, and no interval of a mean and a variance covers what it
says (where a quarter collapses, one of three seeds covers the mean of all in less than 70 % of cases). Such rows are
marked. What none of the observed seeds shows cannot be detected: of 3 seeds that each collapse with probability 1/4,
none does in 42 % of cases.
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
"""Collapsed seeds lie apart from the others by more than so many standard deviations of the examples' effects."""

GROSS = 5.0
"""An outlier deviates by at least so many standard deviations."""

ERROR = 0.01
"""Probability that any score of a task is an outlier, if all are normal with one variance."""


def find_collapsed(
    rows: Sequence[Sample], constant: float | None, *, higher_is_better: bool = True
) -> list[tuple[int, ...]]:
    """The collapsed seeds of each row of one task. `constant` is the score of the best constant answer, if known."""
    count = sum(len(sample.values) for sample in rows)
    found = []
    for place, sample in enumerate(rows):
        at = _outliers(sample, [*rows[:place], *rows[place + 1 :]], count)
        if constant is not None:
            at |= _at_constant(sample, constant, 1 if higher_is_better else -1)
        found.append(tuple(seed for seed, out in zip(sample.seeds, at, strict=True) if out))
    return found


def _at_constant(sample: Sample, constant: float, sign: int) -> Bools:
    """[seeds] Whether a seed scores within a standard error of a constant answer, and the others clearly better. Not
    where all are: that is a method that learns nothing."""
    scores = sign * sample.values
    errors = 0.0 if sample.draws is None else sample.draws.std(axis=0, ddof=1)
    low = scores <= sign * constant + errors
    if low.all() or not low.any():
        return np.zeros(len(scores), dtype=bool)
    clear = scores[~low].min() - scores[low].max() > APART * _of_examples(sample)
    return low if clear else np.zeros(len(scores), dtype=bool)


def _of_examples(sample: Sample) -> float:
    """Standard deviation of the difference of two equally good seeds on these examples."""
    return math.sqrt(2 * len(sample.values) * float(sample.variances().luck))


def _outliers(sample: Sample, others: Sequence[Sample], count: int) -> Bools:
    """[seeds] Whether a score's externally studentized residual in the one-way layout of the task's `count` scores is
    gross: its deviation from the mean of the row's other seeds, beside the variance within all rows without it (Cook
    and Weisberg, 1982, Residuals and Influence in Regression, 2.2.1), at Bonferroni's quantile."""
    n = len(sample.values)
    freedom = sum(len(other.values) - 1 for other in others) + n - 2
    if n < 2 or freedom < 2:
        return np.zeros(n, dtype=bool)
    squares = math.fsum(float(((other.values - other.mean) ** 2).sum()) for other in others)
    found = []
    for seed, value in enumerate(sample.values):
        rest = np.delete(sample.values, seed)
        variance = (squares + ((rest - rest.mean()) ** 2).sum()) / freedom
        scale = math.sqrt(max(variance, _of_examples(sample) ** 2 / 2) * (1 + 1 / (n - 1)))
        found.append(abs(value - rest.mean()) > max(GROSS, critical(ERROR / count, freedom)) * scale)
    return np.array(found)
