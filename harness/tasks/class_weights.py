"""Weights of the classes in the task loss."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.api.task import Task


def class_weights(task: Task, labels: NDArray[Any]) -> NDArray[np.float64]:
    """Return the weight of each class of a classification, [C], with a mean of 1 over the training examples.

    ``balanced``: n / (K n_c) for the n_c of n examples of class c, where K classes have examples, so that all classes
    contribute equally. Given weights are scaled. A class without examples keeps its weight before scaling.

    Args:
        task: a task with `class_weights`.
        labels: class numbers of the training examples, [n].
    """
    counts = np.bincount(labels, minlength=len(task.labels)).astype(float)
    if task.class_weights == "balanced":
        weights = np.divide(1.0, counts, out=np.ones_like(counts), where=counts > 0)
    else:
        weights = np.asarray(task.class_weights, dtype=float)
    scale = counts.sum() / (weights @ counts)
    scaled: NDArray[np.float64] = np.where(counts > 0, weights * scale, weights)
    return scaled
