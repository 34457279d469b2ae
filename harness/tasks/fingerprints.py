"""Fingerprints of data sets, and random subsets for `training.limit`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.api.task import Splits
from harness.storage.hashing import key

if TYPE_CHECKING:
    from datasets import Dataset

LIMIT_SEED = 20240229
"""Seed of the subset. Constant, so that all runs of all suites use the same examples."""


def fingerprint(dataset: Dataset) -> str:
    """Return a 16-digit hex hash of the column names and the examples in their order.

    It does not depend on the process, the platform, or the operations that produced the data set.
    """
    columns = sorted(dataset.column_names)
    digest = hashlib.sha256(json.dumps(columns).encode())
    for batch in dataset.select_columns(columns).iter(batch_size=1000):
        for row in zip(*(batch[column] for column in columns), strict=True):
            digest.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()[:16]


def fingerprint_of_parts(parts: Mapping[str, Dataset]) -> str:
    """Return a 16-digit hex hash of the names and fingerprints of several data sets."""
    return key({name: fingerprint(part) for name, part in parts.items()})


def limit_splits(splits: Splits, *, train: int | None, validation: int | None) -> Splits:
    """Limit the number of examples of each split to the first of a fixed permutation.

    `train` and `validation` are maximum numbers; None keeps all examples in their order. The held-out split has the
    limit of the validation splits, because it is scored at least as often.
    """
    held_out = splits.selection
    return replace(
        splits,
        train=_first(splits.train, train),
        validation={name: _first(split, validation) for name, split in splits.validation.items()},
        selection=_first(held_out, validation) if held_out is not None else None,
    )


def _first(dataset: Dataset, count: int | None) -> Dataset:
    if count is None or count >= len(dataset):
        return dataset
    import numpy as np

    order = np.random.Generator(np.random.PCG64(LIMIT_SEED)).permutation(len(dataset))
    return dataset.select(order[:count])
