"""The built-in metrics, as subclasses of `evaluate.Metric`. They are computed here, so that nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import datasets
import evaluate
import numpy as np
from numpy.typing import NDArray

from harness.metrics.entity_spans import entity_counts
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


class _OfClasses(LocalMetric):
    """Base class of metrics of classification (class indices) and multilabel (0 or 1 for each class)."""

    def _info(self) -> evaluate.MetricInfo:
        index, indicators = datasets.Value("int64"), datasets.Sequence(datasets.Value("int64"))
        features = [datasets.Features({"predictions": kind, "references": kind}) for kind in (index, indicators)]
        return evaluate.MetricInfo(description=self.description, citation="", inputs_description="", features=features)


class F1Micro(_OfClasses):
    """F1 of all decisions "this class, yes or no" together; 0 without predictions and labels."""

    description = "micro-averaged F1"

    def _compute(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        return {"f1_micro": _f1(_class_counts(predictions, references).sum(0)).item()}


class F1Macro(_OfClasses):
    """Mean F1 of the classes; a class without predictions and labels has 0.

    Of a multilabel task, the mean over all classes; of a classification, over those that occur, as in scikit-learn.
    """

    description = "macro-averaged F1"

    def _compute(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        return {"f1_macro": float(_f1(_class_counts(predictions, references)).mean())}


class SubsetAccuracy(LocalMetric):
    """Share of examples whose classes are all correct."""

    description = "share of examples with exactly the right classes"
    predictions = datasets.Sequence(datasets.Value("int64"))
    references = datasets.Sequence(datasets.Value("int64"))

    def _compute(self, predictions: Sequence[Sequence[int]], references: Sequence[Sequence[int]]) -> dict[str, float]:
        return {"subset_accuracy": float((np.asarray(predictions) == np.asarray(references)).all(-1).mean())}


class _OfTags(LocalMetric):
    """Base class of metrics of token classification, whose inputs are lists of tag names."""

    predictions = datasets.Sequence(datasets.Value("string"))
    references = datasets.Sequence(datasets.Value("string"))


class EntityF1(_OfTags):
    """Precision, recall and F1 of entities over all sentences, as seqeval's default mode; 0 where undefined."""

    description = "precision, recall and F1 of entities, micro-averaged"

    def _compute(self, predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> dict[str, float]:
        pairs = zip(predictions, references, strict=True)
        correct, predicted, actual = np.array([entity_counts(*pair) for pair in pairs]).sum(0).tolist()
        return {
            "entity_precision": correct / predicted if predicted else 0.0,
            "entity_recall": correct / actual if actual else 0.0,
            "entity_f1": 2 * correct / (predicted + actual) if predicted + actual else 0.0,
        }


class TokenAccuracy(_OfTags):
    """Share of words with the right tag; 0 without words."""

    description = "share of words with the right tag"

    def _compute(self, predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> dict[str, float]:
        pairs = [pair for rows in zip(predictions, references, strict=True) for pair in zip(*rows, strict=True)]
        right = sum(predicted == actual for predicted, actual in pairs)
        return {"token_accuracy": right / len(pairs) if pairs else 0.0}


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


def _class_counts(predictions: Sequence[Any], references: Sequence[Any]) -> Floats:
    """[C, 3]: for each class the numbers of right predictions, of predictions and of labels."""
    predicted, actual = np.asarray(predictions), np.asarray(references)
    if predicted.ndim == 1:
        classes = np.unique([predicted, actual])
        predicted, actual = (column[:, None] == classes for column in (predicted, actual))
    counts: Floats = np.stack([(predicted * actual).sum(0), predicted.sum(0), actual.sum(0)], axis=-1).astype(float)
    return counts


def _f1(counts: Floats) -> Floats:
    """F1 from the counts [..., (right, predicted, actual)]; 0 without predictions and labels."""
    total = counts[..., 1] + counts[..., 2]
    f1: Floats = np.divide(2 * counts[..., 0], total, out=np.zeros(total.shape), where=total > 0)
    return f1


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
