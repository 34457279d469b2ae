"""Proof of which examples were used, and the choice of some of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from harness.api.task import Splits

if TYPE_CHECKING:
    from datasets import Dataset

LIMIT_SEED = 20240229
"""The same examples for every run of every suite, whatever its seeds."""


def fingerprint(dataset: Dataset) -> str:
    """16 hex digits over the columns' names and the exact examples in their order.

    Depends on nothing else: not on the process, the platform, or how the data set came to be.
    """
    columns = sorted(dataset.column_names)
    digest = hashlib.sha256(json.dumps(columns).encode())
    for batch in dataset.select_columns(columns).iter(batch_size=1000):
        for row in zip(*(batch[column] for column in columns), strict=True):
            digest.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()[:16]


def limit_splits(splits: Splits, *, train: int | None, validation: int | None) -> Splits:
    """The first examples of a shuffle that is always the same, so many of each split; None: all, in their order. What
    is held out to choose on is scored as often as the validation splits or more, and so cut as they are."""
    held = splits.selection
    return replace(
        splits,
        train=_first(splits.train, train),
        validation={name: _first(part, validation) for name, part in splits.validation.items()},
        selection=_first(held, validation) if held is not None else None,
    )


def _first(dataset: Dataset, count: int | None) -> Dataset:
    if count is None or count >= len(dataset):
        return dataset
    order = np.random.Generator(np.random.PCG64(LIMIT_SEED)).permutation(len(dataset))
    return dataset.select(order[:count])
