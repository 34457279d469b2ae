"""Finds out whether a regression model predicts on another scale than that of the labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

CORRELATED = 0.5
"""Pearson correlation above which predictions are taken to mean the labels."""

NEGLIGIBLE = 0.01
"""Share of the labels' standard deviation below which predictions around the labels' mean are taken to be constant."""


@dataclass(frozen=True)
class Location:
    """Mean and standard deviation."""

    mean: float
    deviation: float


@dataclass(frozen=True)
class OtherScale:
    """Mean and standard deviation of predictions and labels, and their Pearson correlation."""

    predicted: Location
    labels: Location
    pearson: float


def find(predictions: pd.DataFrame) -> OtherScale | None:
    """Find predictions that correlate with the labels and are further from them than the labels' mean is; else None.

    A model that has collapsed to a value near the labels' mean answers on their scale, however its outputs correlate.
    `predictions` is `TaskScores.frame` of a regression task.
    """
    predicted = predictions["prediction"].to_numpy(dtype=np.float64)
    labels = predictions["label"].to_numpy(dtype=np.float64)
    answers, truth = (Location(float(values.mean()), float(values.std())) for values in (predicted, labels))
    if answers.deviation == 0 or truth.deviation == 0 or _collapsed(answers, truth):
        return None
    pearson = float(np.corrcoef(predicted, labels)[0, 1])
    if pearson <= CORRELATED or ((predicted - labels) ** 2).mean() <= labels.var():
        return None
    return OtherScale(answers, truth, pearson)


def _collapsed(answers: Location, truth: Location) -> bool:
    near = abs(answers.mean - truth.mean) < truth.deviation
    return near and answers.deviation < NEGLIGIBLE * truth.deviation
