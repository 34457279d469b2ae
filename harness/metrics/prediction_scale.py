"""Finds out whether a regression model predicts on another scale than that of the labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

CORRELATED = 0.5
"""Pearson correlation above which predictions are taken to mean the labels."""


@dataclass(frozen=True)
class OtherScale:
    """The means of predictions and labels, and their Pearson correlation."""

    predicted: float
    labels: float
    pearson: float


def find(predictions: pd.DataFrame) -> OtherScale | None:
    """Find predictions that correlate with the labels and are further from them than the labels' mean is; else None.

    `predictions` is `TaskScores.frame` of a regression task.
    """
    predicted = predictions["prediction"].to_numpy(dtype=np.float64)
    labels = predictions["label"].to_numpy(dtype=np.float64)
    if predicted.std() == 0 or labels.std() == 0:
        return None
    pearson = float(np.corrcoef(predicted, labels)[0, 1])
    if pearson <= CORRELATED or ((predicted - labels) ** 2).mean() <= labels.var():
        return None
    return OtherScale(float(predicted.mean()), float(labels.mean()), pearson)
