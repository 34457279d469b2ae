"""The built-in metrics, as subclasses of `evaluate.Metric`. They are computed here, so that nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import datasets
import evaluate
import numpy as np
from numpy.typing import NDArray

from harness.metrics.squad_matching import match, match_v2

Floats = NDArray[np.float64]


class LocalMetric(evaluate.Metric):  # type: ignore[misc]
    """Base class of metrics that keep their inputs in memory and write no files."""

    description: ClassVar[str]
    predictions: ClassVar[Any] = datasets.Value("int64")
    references: ClassVar[Any] = datasets.Value("int64")

    def __init__(self) -> None:
        with TemporaryDirectory() as folder:  # evaluate creates the cache folder even if it is not used
            super().__init__(keep_in_memory=True, cache_dir=folder)

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features({"predictions": self.predictions, "references": self.references})
        return evaluate.MetricInfo(description=self.description, citation="", inputs_description="", features=features)


class Accuracy(LocalMetric):
    """Share of correctly classified examples."""

    description = "accuracy"

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        return {"accuracy": float(np.mean(np.asarray(predictions) == np.asarray(references)))}


class F1(LocalMetric):
    """F1 of class 1: the harmonic mean of precision and recall; 0 without predictions and labels of class 1."""

    description = "binary F1, positive class 1"

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        predicted, actual = np.asarray(predictions) == 1, np.asarray(references) == 1
        total = int(predicted.sum() + actual.sum())
        return {"f1": 2 * int((predicted & actual).sum()) / total if total else 0.0}


class F1Macro(LocalMetric):
    """Mean over the classes of their F1, of the classes that occur among predictions or labels, as in scikit-learn."""

    description = "macro-averaged F1"

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        classes, codes = np.unique([predictions, references], return_inverse=True)
        predicted, actual = codes.reshape(2, -1)
        right = np.bincount(predicted[predicted == actual], minlength=len(classes))
        total = np.bincount(codes.ravel(), minlength=len(classes))
        return {"f1_macro": float(np.mean(2 * right / total))}


class F1Micro(LocalMetric):
    """F1 over the predictions of all classes together. With one class for each example it equals the accuracy."""

    description = "micro-averaged F1"

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        return {"f1_micro": float(np.mean(np.asarray(predictions) == np.asarray(references)))}


class Errors(LocalMetric):
    """Mean squared error and mean absolute error."""

    description = "mean squared and mean absolute error"
    predictions = datasets.Value("float64")
    references = datasets.Value("float64")

    def _compute(self, predictions: Sequence[float], references: Sequence[float]) -> dict[str, float]:
        difference = np.asarray(predictions, dtype=float) - np.asarray(references, dtype=float)
        return {"mse": float(np.mean(difference**2)), "mae": float(np.mean(np.abs(difference)))}


class MatthewsCorrelation(LocalMetric):
    """Matthews correlation coefficient of two or more classes: Pearson's between one-hot vectors (Gorodkin, 2004).

    0 if all predictions, or all labels, have the same class, as in scikit-learn, which GLUE uses.
    """

    description = "Matthews correlation coefficient"

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        classes, codes = np.unique([predictions, references], return_inverse=True)
        predicted, actual = np.eye(len(classes))[codes.reshape(2, -1)]
        correlation = _correlation(predicted, actual)
        return {"matthews_correlation": 0.0 if np.isnan(correlation) else correlation}


class PearsonSpearman(LocalMetric):
    """Pearson and Spearman correlation. Ties have their mean rank.

    Both are NaN (undefined) if all predictions, or all labels, are equal. Predictions that are not finite raise
    `ValueError`, because ranks would hide them.
    """

    description = "Pearson and Spearman correlation"
    predictions = datasets.Value("float64")
    references = datasets.Value("float64")

    def _compute(self, predictions: Sequence[float], references: Sequence[float]) -> dict[str, float]:
        predicted, actual = np.asarray(predictions, dtype=float), np.asarray(references, dtype=float)
        if not np.isfinite(predicted).all():
            raise ValueError(f"{np.sum(~np.isfinite(predicted))} of {len(predicted)} predictions are not finite")
        return {
            "pearson": _correlation(predicted, actual),
            "spearmanr": _correlation(_ranks(predicted), _ranks(actual)),
        }


class Squad(LocalMetric):
    """Exact match and F1 of SQuAD 1.1, in percent: the maximum over the reference answers, averaged over questions.

    As in evaluate-v1.1.py, every question has an answer, and a prediction without words (".") can be an exact match
    with an F1 of 0.
    """

    description = "SQuAD exact match and F1"
    predictions = datasets.Value("string")
    references = datasets.List(datasets.Value("string"))

    def _compute(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
        pairs = zip(predictions, references, strict=True)
        return _percent(np.array([match(text, answers) for text, answers in pairs]))


class SquadV2(Squad):
    """Exact match and F1 of SQuAD 2.0, as in evaluate-v2.0.py; the prediction "" means that there is no answer.

    ``HasAns_`` are the means over the questions with an answer, ``NoAns_`` over the others; each only if there are such
    questions.
    """

    description = "SQuAD 2.0 exact match and F1"

    def _compute(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
        pairs = zip(predictions, references, strict=True)
        scores = np.array([match_v2(text, answers) for text, answers in pairs])
        answerable = np.array([bool(answers) for answers in references])
        subsets = {"HasAns_": scores[answerable], "NoAns_": scores[~answerable]}
        means = {prefix: _percent(subset) for prefix, subset in subsets.items() if len(subset)}
        return _percent(scores) | {
            f"{prefix}{key}": mean for prefix, pair in means.items() for key, mean in pair.items()
        }


def _correlation(left: Floats, right: Floats) -> float:
    """Return Pearson's correlation of two arrays, centred by column; NaN if one is constant."""
    if (left == left[:1]).all() or (right == right[:1]).all():
        return float("nan")
    left, right = left - left.mean(0), right - right.mean(0)
    return float(np.clip((left * right).sum() / (np.linalg.norm(left) * np.linalg.norm(right)), -1, 1))


def _ranks(values: Floats) -> Floats:
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2)[codes]
    return ranks


def _percent(scores: Floats) -> dict[str, float]:
    """Return the means of exact match and F1, given as [n, 2] in [0, 1], in percent."""
    exact, f1 = scores.mean(axis=0) * 100
    return {"exact": float(exact), "f1": float(f1)}
