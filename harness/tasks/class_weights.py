"""Weights of the classes in the task loss."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.api.task import Task
from harness.tasks.ragged_arrays import Ragged


def class_weights(task: Task, labels: NDArray[Any] | Ragged) -> NDArray[np.float64]:
    """Return the weight of each class, [C], scaled so that the mean factor in the task loss of the training set is 1.

    That is the mean over the labels of the examples: a cross-entropy has the weight of its label. For multilabel tasks
    it is the mean over the classes: each class is a decision of its own in every example, with a label or without.

    ``balanced``: in inverse proportion to the number of labels of each class, so that the labels of all classes have
    the same total weight; a class without labels has the mean weight of the others. Without any label, ``balanced``
    weights are 1 and given ones are unchanged.

    Args:
        task: a task with `class_weights`.
        labels: labels of the training examples: class numbers [n]; multilabel: 0 or 1 for each class [n, C]; token
            classification: class numbers of the tokens of each example, negative ones are ignored.
    """
    counts = _class_counts(task, labels)
    found = counts > 0
    weights = np.ones_like(counts)
    if task.class_weights != "balanced":
        weights = np.asarray(task.class_weights, dtype=float)
    elif found.any():
        weights[found] = 1 / counts[found]
        weights[~found] = weights[found].mean()
    factors = np.ones_like(counts) if task.kind == "multilabel" else counts
    scale = factors.sum() / (weights @ factors) if found.any() else 1.0
    scaled: NDArray[np.float64] = weights * scale
    return scaled


def _class_counts(task: Task, labels: NDArray[Any] | Ragged) -> NDArray[np.float64]:
    """Return the number of labels of each class, [C]."""
    if task.kind == "multilabel":
        counts: NDArray[np.float64] = np.asarray(labels, dtype=float).sum(0)
        return counts
    numbers = np.asarray(labels.values if isinstance(labels, Ragged) else labels)
    return np.bincount(numbers[numbers >= 0], minlength=len(task.labels)).astype(float)
