"""Sampling of rows that are held out: stratified by label, or in groups that stay together."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    At least one row of each class stays, since a class that is not trained cannot be predicted; so there are fewer than
    `count` if too few others are left.
    """
    if GROUP in train.column_names or kind == "qa":
        return _grouped(train[GROUP if GROUP in train.column_names else "context"][:], count, seed)
    stratum = _strata(kind, train)
    sizes = np.bincount(stratum)
    if kind == "regression":  # its strata are no classes
        return _stratified(stratum, _apportion(sizes, count), seed)
    several = np.where(sizes > 1, sizes, 0)
    parts = _apportion(several, min(count, int(several.sum())))
    return _stratified(stratum, np.minimum(parts, sizes - 1), seed)


def _strata(kind: TaskKind, train: Dataset) -> NDArray[np.int64]:
    """Return the stratum of each row, [n], from 0."""
    if kind in ("multilabel", "token_classification"):
        labels = _rarest(train["label" if kind == "multilabel" else "tags"][:])
    else:
        labels = np.asarray(train["label"][:])
    if kind == "regression":
        labels = np.searchsorted(np.quantile(labels, np.arange(1, BINS) / BINS), labels, side="right")
    _, stratum = np.unique(labels, return_inverse=True)
    return stratum


def _rarest(rows: list[list[int]]) -> NDArray[np.int64]:
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
