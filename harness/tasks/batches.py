"""Which examples share a batch, and in which order the batches come."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

POOL = 50
"""Batches that are sorted by length together: wide enough for little padding, narrow enough to stay a shuffle."""

Lengths = Sequence[int] | NDArray[np.int64]


def epoch_batches(
    lengths: Lengths, batch_size: int, *, seed: int, epoch: int, token_budget: int | None = None
) -> list[list[int]]:
    """One epoch's batches of row numbers: shuffled, like lengths together, every row once.

    The same arguments give the same batches on every machine. One batch is smaller where the rows do not divide. With a
    `token_budget`, batches have as many rows as their tokens allow, padding counted, whatever `batch_size` is: how many
    batches that makes differs a little from epoch to epoch. A row that is longer has a batch to itself.
    """
    random = np.random.Generator(np.random.PCG64([seed % 2**64, epoch]))
    order = random.permutation(len(lengths))
    rows = batch_size if token_budget is None else max(1, int(token_budget / np.mean(lengths)))
    pool = POOL * rows
    batches: list[list[int]] = []
    for first in range(0, len(order), pool):
        some = order[first : first + pool]
        if token_budget is None:
            batches += _sorted_batches(some, lengths, batch_size)
        else:
            batches += _filled_batches(some, lengths, token_budget)
    return [batches[index] for index in random.permutation(len(batches))]


def eval_batches(lengths: Lengths, batch_size: int) -> list[list[int]]:
    """All rows once, longest first, so that what would not fit in memory shows at once."""
    return _sorted_batches(np.arange(len(lengths)), lengths, batch_size)[::-1]


def _sorted_batches(rows: NDArray[np.int64], lengths: Lengths, batch_size: int) -> list[list[int]]:
    ordered = rows[np.argsort(np.asarray(lengths)[rows], kind="stable")].tolist()
    return [ordered[first : first + batch_size] for first in range(0, len(ordered), batch_size)]


def _filled_batches(rows: NDArray[np.int64], lengths: Lengths, token_budget: int) -> list[list[int]]:
    """From the longest row on, so that what is left for a smaller batch are short ones."""
    each = np.asarray(lengths)[rows]
    batches: list[list[int]] = []
    longest = 0
    for place in np.argsort(-each, kind="stable").tolist():
        if not batches or (len(batches[-1]) + 1) * longest > token_budget:
            batches.append([])
            longest = int(each[place])
        batches[-1].append(int(rows[place]))
    return batches
