"""The interval of a score on one task, on a scale on which scores are nearer to a normal distribution.

A metric has bounds, and near them its scores are skewed: seeds that differ much lie far below the mean more often than
far above it, and a symmetric interval of three of them covers less than it says (F1 88 %, Pearson's correlation 90 %).
So half-widths are computed of transformed scores, the logit of a share or Fisher's z = arctanh of a correlation
(Fisher, 1921, Metron 1), both of which are a logit on the range of the metric, and the ends are transformed back:

    low, high = g^-1(g(mean) - h), g^-1(g(mean) + h)

The centre is g of the mean score, and not the mean of the transformed scores: g^-1 of that is near the median, lies
above the mean that the board states, and its intervals cover less the more seeds there are. Differences and averages
over tasks, which are less skewed, keep the scale of the scores.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from harness.analysis.inference import Sample, estimate
from harness.analysis.student_t import Floats

Interval = tuple[float | None, float | None]


@dataclass(frozen=True)
class Logit:
    """The logit on [low, high]. Half an example is added at both ends, so that the bounds themselves have a value."""

    low: float
    high: float
    examples: int

    def __call__(self, scores: Floats) -> Floats:
        share = (scores - self.low) / (self.high - self.low)
        share = (share * self.examples + 0.5) / (self.examples + 1)
        found: Floats = np.log(share) - np.log1p(-share)
        return found

    def inverse(self, value: float) -> float:
        share = (1 / (1 + np.exp(-value)) * (self.examples + 1) - 0.5) / self.examples
        return self.low + (self.high - self.low) * float(np.clip(share, 0, 1))


def interval(sample: Sample) -> Interval:
    """The 95 % interval of a mean score over seeds: (None, None) where nothing is known of its error. Without draws or
    bounds it is symmetric."""
    plain = estimate([sample])
    if plain.margin is None or sample.draws is None or sample.bounds is None or not sample.examples:
        return plain.low, plain.high
    logit = Logit(*sample.bounds, sample.examples)
    transformed = replace(sample, values=logit(sample.values), draws=logit(sample.draws), bounds=None)
    margin, centre = estimate([transformed]).margin or 0.0, float(logit(np.array(sample.mean)))
    return logit.inverse(centre - margin), logit.inverse(centre + margin)
