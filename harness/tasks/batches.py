"""Which examples share a batch, and in which order the batches come."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

POOL = 50
"""Batches that are sorted by length together: wide enough for little padding, narrow enough to stay a shuffle."""

Lengths = Sequence[int] | NDArray[np.int64]


def epoch_batches(lengths: Lengths, batch_size: int, *, seed: int, epoch: int) -> list[list[int]]:
    """One epoch's batches of row numbers: shuffled, like lengths together, every row once.

    The same arguments give the same batches on every machine. One batch is smaller where the rows do not divide.
    """
    random = np.random.Generator(np.random.PCG64([seed % 2**64, epoch]))
    order = random.permutation(len(lengths))
    pool = POOL * batch_size
    batches: list[list[int]] = []
    for first in range(0, len(order), pool):
        batches += _sorted_batches(order[first : first + pool], lengths, batch_size)
    return [batches[index] for index in random.permutation(len(batches))]


def eval_batches(lengths: Lengths, batch_size: int) -> list[list[int]]:
    """All rows once, longest first, so that what would not fit in memory shows at once."""
    return _sorted_batches(np.arange(len(lengths)), lengths, batch_size)[::-1]


def _sorted_batches(rows: NDArray[np.int64], lengths: Lengths, batch_size: int) -> list[list[int]]:
    ordered = rows[np.argsort(np.asarray(lengths)[rows], kind="stable")].tolist()
    return [ordered[first : first + batch_size] for first in range(0, len(ordered), batch_size)]
