"""Answers that ignore the example: the same class, set of classes, tag or number everywhere."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.analysis.prediction_tables import objects
from harness.metrics.task_metrics import ERRORS

MAX_SETS = 20
"""Number of sets of the most frequent classes that are tried for a multilabel task with many classes."""

MAX_TAGS = 5
"""Number of tags that are tried: the most frequent ones."""


def has_constant(kind: str, score: str) -> bool:
    """Whether a constant answer has a score: a correlation with a constant is undefined; no text answers all
    questions."""
    return score in ERRORS if kind == "regression" else kind != "qa"


def constant_predictions(kind: str, labels: NDArray[Any], split: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the predictions of each constant answer on a split; the best of them is the constant answer of the task.

    Classification: each class. Multilabel: the k most frequent classes for several k from 0 to all, of which one has
    the best micro-averaged F1 and all together the best macro-averaged F1, and the most frequent set of classes, which
    has the best subset accuracy. Token classification: each of the most frequent tags. Regression: the mean, which has
    the least squared error, and the median, which has the least absolute error.

    Args:
        kind: one for which `has_constant`.
        labels: of all splits, as in `harness.analysis.prediction_tables.Predictions`.
        split: the labels of the split.
    """
    if kind == "classification":
        return [np.full(len(split), label) for label in np.unique(labels)]
    if kind == "multilabel":
        return [np.broadcast_to(classes, split.shape) for classes in _class_sets(labels)]
    if kind == "regression":
        numbers = labels.astype(float)
        return [np.full(len(split), answer) for answer in (numbers.mean(), np.median(numbers))]
    frequency = Counter(tag for tags in labels for tag in tags)
    tags = [tag for tag, _ in frequency.most_common(MAX_TAGS)] or ["O"]
    return [objects([(tag,) * len(words) for words in split]) for tag in tags]


def _class_sets(labels: NDArray[Any]) -> list[NDArray[Any]]:
    count = labels.shape[1]
    rank = np.argsort(np.argsort(-labels.sum(0), kind="stable"))
    sizes = np.unique(np.linspace(0, count, min(count + 1, MAX_SETS)).round())
    sets, frequency = np.unique(labels, axis=0, return_counts=True)
    return [*((rank < size).astype(labels.dtype) for size in sizes), sets[frequency.argmax()]]
