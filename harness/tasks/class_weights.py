"""Weights of the classes in the task loss."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.api.task import Task
from harness.tasks.ragged_arrays import Ragged


def class_weights(task: Task, labels: NDArray[Any] | Ragged) -> NDArray[np.float64]:
    """Return the weight of each class, [C], with a mean of 1 over the labels of the training examples.

    ``balanced``: n / (K n_c) for the n_c of n examples of class c, where K classes have examples, so that all classes
    contribute equally. Given weights are scaled. A class without examples keeps its weight before scaling.

    Args:
        task: a task with `class_weights`.
        labels: labels of the training examples: class numbers [n]; multilabel: 0 or 1 for each class [n, C]; token
            classification: class numbers of the tokens of each example, negative ones are ignored.
    """
    counts = _class_counts(task, labels)
    if task.class_weights == "balanced":
        weights = np.divide(1.0, counts, out=np.ones_like(counts), where=counts > 0)
    else:
        weights = np.asarray(task.class_weights, dtype=float)
    if not counts.any():
        return weights
    scale = counts.sum() / (weights @ counts)
    scaled: NDArray[np.float64] = np.where(counts > 0, weights * scale, weights)
    return scaled


def _class_counts(task: Task, labels: NDArray[Any] | Ragged) -> NDArray[np.float64]:
    """Return the number of labels of each class, [C]."""
    if task.kind == "multilabel":
        counts: NDArray[np.float64] = np.asarray(labels, dtype=float).sum(0)
        return counts
    numbers = np.asarray(labels.values if isinstance(labels, Ragged) else labels)
    return np.bincount(numbers[numbers >= 0], minlength=len(task.labels)).astype(float)
