"""Finds out whether the classes of a model's head are in another order than those of the task."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

ERROR = 0.01
"""Probability of a false alarm, at most, for a model whose errors have no direction."""


@dataclass(frozen=True)
class Permutation:
    """An order of the classes in which predictions agree better with the labels.

    Attributes:
        meaning: for each predicted class, the class that it seems to mean.
        agreement, found: share of the labels that are predicted with and without the permutation.
    """

    meaning: tuple[int, ...]
    agreement: float
    found: float


def find(kind: str, predictions: pd.DataFrame, names: Sequence[str]) -> Permutation | None:
    """Find the permutation of the classes with which `predictions` agree best; None unless it is significantly better.

    A sign test compares the permutation with the identity on the examples where they differ (Hoeffding's bound), and
    the union bound over all permutations corrects for the choice of the best one. A constant prediction is no
    permutation: the permuted predictions must agree with more labels than the most frequent class does.

    Args:
        kind: the kind of the task; others than those with classes have no permutation.
        predictions: `TaskScores.frame`.
        names: names of the classes.
    """
    from scipy.optimize import linear_sum_assignment

    rows = [_numbers(kind, predictions[column], names) for column in ("prediction", "label")]
    examples, predicted, labels = _pairs(kind, *rows).T
    classes, counts = len(names), np.bincount([label + 1 for row in rows[1] for label in row], minlength=1)
    if not len(examples) or counts[0]:  # nothing to compare, or hidden labels (class -1)
        return None
    confusion = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(confusion, (predicted, labels), 1)
    # Among equally good assignments, that with the most classes in their place.
    _, meaning = linear_sum_assignment(confusion * (classes + 1) + np.eye(classes, dtype=np.int64), maximize=True)
    permuted, found = meaning[predicted] == labels, predicted == labels
    gain = np.bincount(examples, weights=permuted.astype(np.int64) - found)
    better, worse = int((gain > 0).sum()), int((gain < 0).sum())
    if better <= worse or permuted.sum() <= counts.max() or not _significant(better, worse, classes):
        return None
    total = counts.sum()
    return Permutation(tuple(map(int, meaning)), float(permuted.sum() / total), float(found.sum() / total))


def _significant(better: int, worse: int, classes: int) -> bool:
    log_p = -((better - worse) ** 2) / (2 * (better + worse))
    return log_p + math.lgamma(classes + 1) < math.log(ERROR)


def _numbers(kind: str, column: Iterable[Any], names: Sequence[str]) -> list[list[int]]:
    """The class numbers of each example: of its class, its classes or its words. -1: hidden; empty: no classes."""
    match kind:
        case "classification":
            return [[int(value)] for value in column]
        case "multilabel":
            return [[int(value) for value in values] for values in column]
        case "token_classification":
            number = {name: index for index, name in enumerate(names)}
            return [[number.get(value, -1) for value in values] for values in column]
        case _:
            return [[] for _ in column]


def _pairs(kind: str, predictions: Sequence[Sequence[int]], labels: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """All (example, predicted class, label) [n, 3]: of each word, or of each pair of an example's classes."""
    rows: list[tuple[int, int, int]] = []
    words = kind == "token_classification"
    for example, (predicted, label) in enumerate(zip(predictions, labels, strict=True)):
        pairs: Iterable[tuple[int, int]] = zip(predicted, label, strict=True) if words else product(predicted, label)
        rows += [(example, one, other) for one, other in pairs]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)
