"""Intervals of scores and of their averages, computed on the logit scale, where scores are closer to normal.

Near the bounds of a metric, scores are skewed: seeds that differ strongly are far below the mean more often than far
above it, and a symmetric 95 % interval from three of them covers too little (F1 88 %, Pearson's correlation 90 %). So
half-widths are computed from transformed scores: the logit of a share, or Fisher's z = arctanh of a correlation
(Fisher, 1921, Metron 1). Both are a logit on the range of the metric. The ends are transformed back:

    low, high = g^-1(g(mean) - h), g^-1(g(mean) + h)

The centre is g of the mean score, not the mean of the transformed scores: g^-1 of the latter is near the median, which
is above the mean that the board states, and the more seeds there are, the less its intervals cover.

**Averages** over K tasks combine the distances of the ends from the means m_k of the tasks, each side by itself:

    low = m - sqrt(sum_k ((m_k - low_k) / K)^2),    high = m + sqrt(sum_k ((high_k - m_k) / K)^2)

(MOVER, the method of variance estimates recovery: Zou and Donner, 2008, Statistics in Medicine 27(10).) A symmetric
interval of an average near 100 covers too little, too: 90 to 92 % at a mean of 97.2 and 81 to 85 % at 99.3, with 3
seeds and 2 to 4 tasks. With the degrees of freedom of each task, the interval would be too long, because the tasks'
seed variances rarely are all underestimated. So the ends of the tasks have the degrees of freedom of the average.

Differences are less skewed and keep the scale of the scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.analysis.inference import Estimate, Sample, estimate
from harness.analysis.student_t import Floats

Interval = tuple[float | None, float | None]


@dataclass(frozen=True)
class Logit:
    """The logit on [low, high]. Half an example is added at both ends, so that the bounds have finite logits."""

    low: float
    high: float
    examples: int

    def __call__(self, scores: Floats) -> Floats:
        share = (scores - self.low) / (self.high - self.low)
        share = (share * self.examples + 0.5) / (self.examples + 1)
        logits: Floats = np.log(share) - np.log1p(-share)
        return logits

    def inverse(self, value: float) -> float:
        share = (1 / (1 + np.exp(-value)) * (self.examples + 1) - 0.5) / self.examples
        return self.low + (self.high - self.low) * float(np.clip(share, 0, 1))


def interval(samples: Sequence[Sample]) -> Interval:
    """The 95 % interval of a mean score over seeds and tasks; (None, None) if its error is unknown.

    It is symmetric, on the scale of the scores, if no task has draws and bounds.

    Args:
        samples: the scores of a row, one sample per task.
    """
    average = estimate(samples)
    if average.margin is None or all(_logit(sample) is None for sample in samples):
        return average.low, average.high
    ends = [_ends(sample, average) for sample in samples]
    if len(ends) == 1:
        return ends[0]
    below = math.hypot(*(sample.mean - low for sample, (low, _) in zip(samples, ends, strict=True)))
    above = math.hypot(*(high - sample.mean for sample, (_, high) in zip(samples, ends, strict=True)))
    return average.mean - below / len(samples), average.mean + above / len(samples)


def _ends(sample: Sample, average: Estimate) -> tuple[float, float]:
    """The ends of the interval on one task, with the degrees of freedom of the average."""
    logit = _logit(sample)
    if logit is None:
        margin = _margin(sample, average)
        return sample.mean - margin, sample.mean + margin
    assert sample.draws is not None  # else there is no logit
    transformed = replace(sample, values=logit(sample.values), draws=logit(sample.draws), bounds=None)
    margin, centre = _margin(transformed, average), float(logit(np.array(sample.mean)))
    return logit.inverse(centre - margin), logit.inverse(centre + margin)


def _margin(sample: Sample, average: Estimate) -> float:
    """The half-width of a symmetric interval, with the degrees of freedom of the average."""
    return replace(estimate([sample]), freedom=average.freedom, credit=average.credit).margin or 0.0


def _logit(sample: Sample) -> Logit | None:
    """The scale of the interval on a task; None for that of the scores."""
    if sample.draws is None or sample.bounds is None or not sample.examples:
        return None
    return Logit(*sample.bounds, sample.examples)
