"""Intervals of scores on one task, computed on the logit scale, where scores are closer to normal.

Near the bounds of a metric, scores are skewed: seeds that differ strongly are far below the mean more often than far
above it, and a symmetric 95 % interval from three of them covers too little (F1 88 %, Pearson's correlation 90 %). So
half-widths are computed from transformed scores: the logit of a share, or Fisher's z = arctanh of a correlation
(Fisher, 1921, Metron 1). Both are a logit on the range of the metric. The ends are transformed back:

    low, high = g^-1(g(mean) - h), g^-1(g(mean) + h)

The centre is g of the mean score, not the mean of the transformed scores: g^-1 of the latter is near the median, which
is above the mean that the board states, and the more seeds there are, the less its intervals cover. Differences and
averages over tasks are less skewed and keep the scale of the scores.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from harness.analysis.inference import Sample, estimate
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


def interval(sample: Sample) -> Interval:
    """The 95 % interval of a mean score over seeds; (None, None) if its error is unknown.

    Without draws or bounds, the interval is symmetric, on the scale of the scores.
    """
    symmetric = estimate([sample])
    if symmetric.margin is None or sample.draws is None or sample.bounds is None or not sample.examples:
        return symmetric.low, symmetric.high
    logit = Logit(*sample.bounds, sample.examples)
    transformed = replace(sample, values=logit(sample.values), draws=logit(sample.draws), bounds=None)
    margin, centre = estimate([transformed]).margin or 0.0, float(logit(np.array(sample.mean)))
    return logit.inverse(centre - margin), logit.inverse(centre + margin)
