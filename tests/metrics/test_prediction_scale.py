"""Predictions on another scale than the labels are found, and only those."""

import numpy as np
import pandas as pd
import pytest

from harness.metrics import prediction_scale
from harness.metrics.prediction_scale import Location

LABELS = np.random.default_rng(0).uniform(0, 5, 200)
NOISE = np.random.default_rng(1).normal(0, 0.5, 200)


@pytest.mark.parametrize(
    ("predictions", "found"),
    [
        (LABELS + NOISE, False),
        ((LABELS + NOISE) / 5, True),
        (20 * LABELS, True),
        (LABELS + 3, True),
        (NOISE, False),
        (-LABELS, False),
        (np.full(200, 7.0), False),
        (LABELS.mean() + 0.02 + 1e-3 * LABELS, False),
        (1e-3 * LABELS, True),
    ],
    ids=["right", "fraction", "percent", "shifted", "noise", "negative", "constant", "collapsed", "thousandths"],
)
def test_only_correlated_predictions_on_another_scale_are_found(predictions, found):
    result = prediction_scale.find(pd.DataFrame({"prediction": predictions, "label": LABELS}))
    assert (result is not None) == found
    if result is not None:
        assert result.predicted == Location(pytest.approx(predictions.mean()), pytest.approx(predictions.std()))
        assert result.labels == Location(pytest.approx(LABELS.mean()), pytest.approx(LABELS.std()))
        assert result.pearson == pytest.approx(np.corrcoef(predictions, LABELS)[0, 1])
