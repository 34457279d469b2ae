"""Sampling of rows that are held out: stratified by label, or in groups that stay together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.api.batch import TaskKind

BINS = 10
"""Number of quantile bins of a regression's labels, used as strata."""

GROUP = "group"
"""Optional column of a training split: rows with equal values are held out together."""


def held_out_rows(kind: TaskKind, train: Dataset, count: int, seed: int) -> NDArray[np.bool_]:
    """Return a mask [n] of at most `count` rows to hold out. It depends on the arguments alone.

    Rows with the same `GROUP`, if there is such a column, and questions with the same context are held out together,
    so there may be fewer than `count`. Otherwise there are `count`, stratified to within one row by class (regression:
    decile of the labels; multilabel: the rarest class of a row; token classification: the rarest tag of a sentence).
    The only row of a class stays, and so does one row of each stratum of several, since a class that is not trained
    cannot be predicted; so there are fewer than `count` if too few others are left. Multilabel and token
    classification: a class that is in rows of several strata may nevertheless be held out as a whole.
    """
    if GROUP in train.column_names or kind == "qa":
        return _grouped(train[GROUP if GROUP in train.column_names else "context"][:], count, seed)
    labels = train["tags" if kind == "token_classification" else "label"][:]
    if kind == "regression":  # its strata are no classes
        stratum = _strata(kind, labels)
        return _stratified(stratum, _apportion(np.bincount(stratum), count), seed)
    rows = _not_alone(_strata(kind, labels))
    stratum = _strata(kind, [labels[row] for row in rows])
    sizes = np.bincount(stratum)
    parts = np.minimum(_apportion(sizes, min(count, len(rows))), np.where(sizes > 1, sizes - 1, 1))
    held_out = np.zeros(len(labels), dtype=bool)
    held_out[rows] = _stratified(stratum, parts, seed)
    return held_out


def _not_alone(stratum: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the numbers of the rows in strata of several rows."""
    return np.flatnonzero(np.bincount(stratum)[stratum] > 1)


def _strata(kind: TaskKind, labels: Sequence[Any]) -> NDArray[np.int64]:
    """Return the stratum of each row, [n], from 0, by the label of each row, or its list of labels or tags."""
    values = _rarest(labels) if kind in ("multilabel", "token_classification") else np.asarray(labels)
    if kind == "regression":
        values = np.searchsorted(np.quantile(values, np.arange(1, BINS) / BINS), values, side="right")
    _, stratum = np.unique(values, return_inverse=True)
    return stratum


def _rarest(rows: Sequence[list[int]]) -> NDArray[np.int64]:
    """Return the class of each row that the fewest rows have; -1 for a row without any."""
    classes, counts = np.unique(np.concatenate([[], *(sorted(set(row)) for row in rows)]), return_counts=True)
    rows_with = dict(zip(classes.astype(int).tolist(), counts.tolist(), strict=True))
    return np.array([min(row, key=lambda label: (rows_with[label], label), default=-1) for row in rows])


def _stratified(stratum: NDArray[np.int64], parts: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Return a mask [n]: of each stratum the number of rows that `parts` says."""
    order = _shuffled(len(stratum), seed)
    held_out = np.zeros(len(stratum), dtype=bool)
    for index, size in enumerate(parts):
        held_out[order[stratum[order] == index][:size]] = True
    return held_out


def _apportion(sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Split `count`, at most their sum, in proportion to `sizes`, by the largest-remainder method."""
    exact = count * sizes / max(1, sizes.sum())
    parts: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    largest = np.argsort(-(exact - parts), kind="stable")
    parts[largest[: count - parts.sum()]] += 1
    return parts


def _grouped(groups: list[str], count: int, seed: int) -> NDArray[np.bool_]:
    """Return a mask [n]: in random order, each group that still fits."""
    _, group = np.unique(np.asarray(groups, dtype=object), return_inverse=True)
    sizes = np.bincount(group)
    remaining, chosen = count, np.zeros(len(sizes), dtype=bool)
    for index in _shuffled(len(sizes), seed):
        if sizes[index] <= remaining:
            chosen[index] = True
            remaining -= sizes[index]
    held_out: NDArray[np.bool_] = chosen[group]
    return held_out


def _shuffled(count: int, seed: int) -> NDArray[np.int64]:
    return np.random.Generator(np.random.PCG64(seed)).permutation(count)
