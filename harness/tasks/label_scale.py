"""Mean and standard deviation of the labels of a regression's training examples."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.api.task import LabelScale


def label_scale(labels: Sequence[float]) -> LabelScale:
    """Return the scale of the labels, exactly summed, so that it is the same on every machine: it is part of keys."""
    mean = math.fsum(labels) / len(labels)
    return LabelScale(mean, math.sqrt(math.fsum((label - mean) ** 2 for label in labels) / len(labels)))
