"""The metrics: `evaluate.Metric`s with arithmetic of our own, so that nothing is downloaded."""

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
    """A metric that keeps its inputs in memory and leaves no file behind."""

    description: ClassVar[str]
    predictions: ClassVar[Any] = datasets.Value("int64")
    references: ClassVar[Any] = datasets.Value("int64")

    def __init__(self) -> None:
        with TemporaryDirectory() as folder:  # evaluate makes a cache folder, which it never uses in memory
            super().__init__(keep_in_memory=True, cache_dir=folder)

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features({"predictions": self.predictions, "references": self.references})
        return evaluate.MetricInfo(description=self.description, citation="", inputs_description="", features=features)


class Accuracy(LocalMetric):
    """Share of examples whose class is right."""

    description = "accuracy"

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        return {"accuracy": float(np.mean(np.asarray(predictions) == np.asarray(references)))}


class F1(LocalMetric):
    """Harmonic mean of precision and recall of class 1; 0 where there is nothing to find and nothing found."""

    description = "binary F1, positive class 1"

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        predicted, actual = np.asarray(predictions) == 1, np.asarray(references) == 1
        total = int(predicted.sum() + actual.sum())
        return {"f1": 2 * int((predicted & actual).sum()) / total if total else 0.0}


class MatthewsCorrelation(LocalMetric):
    """Matthews' correlation of two classes or more, which is Pearson's between one-hot vectors (Gorodkin, 2004).

    By convention 0 where all predictions, or all labels, are of one class, as in scikit-learn, with which GLUE scores.
    """

    description = "Matthews correlation coefficient"

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        classes, codes = np.unique([predictions, references], return_inverse=True)
        predicted, actual = np.eye(len(classes))[codes.reshape(2, -1)]
        correlation = _correlation(predicted, actual)
        return {"matthews_correlation": 0.0 if np.isnan(correlation) else correlation}


class PearsonSpearman(LocalMetric):
    """Pearson's correlation, and Spearman's: Pearson's of ranks, ties at the mean of their ranks.

    NaN, which is undefined, where all predictions, or all labels, are equal. Predictions that are not finite raise
    `ValueError`: a rank would make a number of them.
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
    """SQuAD 1.1's exact match and F1 of words, in percent, each of the right answer that fits best.

    As its evaluate-v1.1.py has them: every question has an answer, and F1 counts what is shared, so that an answer
    without words (".") can be exact with an F1 of 0.
    """

    description = "SQuAD exact match and F1"
    predictions = datasets.Value("string")
    references = datasets.List(datasets.Value("string"))

    def _compute(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
        pairs = zip(predictions, references, strict=True)
        return _percent(np.array([match(text, answers) for text, answers in pairs]))


class SquadV2(Squad):
    """The same as SQuAD 2.0's evaluate-v2.0.py has them, where "" says that there is no answer.

    ``HasAns_`` are the means over the questions that have an answer, ``NoAns_`` over the others, each where there are
    such questions.
    """

    description = "SQuAD 2.0 exact match and F1"

    def _compute(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
        pairs = zip(predictions, references, strict=True)
        scores = np.array([match_v2(text, answers) for text, answers in pairs])
        answerable = np.array([bool(answers) for answers in references])
        parts = {"HasAns_": scores[answerable], "NoAns_": scores[~answerable]}
        means = {name: _percent(part) for name, part in parts.items() if len(part)}
        return _percent(scores) | {f"{name}{key}": value for name, part in means.items() for key, value in part.items()}


def _correlation(left: Floats, right: Floats) -> float:
    """Pearson's correlation of two arrays, centred by column; NaN where one is constant."""
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
    """Means over the rows of [n, 2], exact match and F1."""
    exact, f1 = scores.mean(axis=0) * 100
    return {"exact": float(exact), "f1": float(f1)}
