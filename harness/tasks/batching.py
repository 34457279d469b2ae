"""Batch composition: which rows form a batch, and the order of the batches in an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from harness.config.training_schema import Batching

BUCKET_BATCHES = 50
"""Number of batches in a bucket, whose rows the batching ``bucketed`` sorts by length."""

Lengths = Sequence[int] | NDArray[np.int64]


def epoch_batches(
    lengths: Lengths,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    token_budget: int | None = None,
    batching: Batching = "random",
) -> list[list[int]]:
    """Return the batches of one epoch as lists of row numbers.

    Every row occurs once; the rows of a batch are sorted by length, longest first. The result depends on the arguments
    alone and is the same on every machine.

    Args:
        lengths: tokens of each row.
        batch_size: rows of a batch; the last batch may be smaller. Ignored if `token_budget` is set.
        token_budget: maximum number of tokens of a batch, padding included. The number of batches then differs between
            epochs. A row that is longer than the budget is a batch of its own.
        batching: ``random`` and ``grouped`` shuffle the rows and split them into batches. ``bucketed`` also sorts
            buckets of `BUCKET_BATCHES` batches by length before it splits them.
    """
    random = np.random.Generator(np.random.PCG64([seed % 2**64, epoch]))
    order = random.permutation(len(lengths))
    if batching != "bucketed":
        batches = _split(order, batch_size) if token_budget is None else _fill_batches(order, lengths, token_budget)
        return [_longest_first(rows, lengths) for rows in batches]
    rows_per_batch = batch_size if token_budget is None else max(1, int(token_budget / np.mean(lengths)))
    batches = []
    for bucket in _split(order, BUCKET_BATCHES * rows_per_batch):
        # Longest first, so that the last, smaller batch has the short rows.
        bucket = _longest_first(bucket, lengths)
        batches += _split(bucket, batch_size) if token_budget is None else _fill_batches(bucket, lengths, token_budget)
    return [batches[index] for index in random.permutation(len(batches))]


def eval_batches(lengths: Lengths, batch_size: int) -> list[list[int]]:
    """Return batches of all rows, longest first, so that a batch too large for memory fails at the start."""
    ordered = np.argsort(np.asarray(lengths), kind="stable").tolist()
    return [ordered[first : first + batch_size] for first in range(0, len(ordered), batch_size)][::-1]


def _split(rows: Sequence[int] | NDArray[np.int64], size: int) -> list[list[int]]:
    return [[int(row) for row in rows[first : first + size]] for first in range(0, len(rows), size)]


def _longest_first(rows: Sequence[int], lengths: Lengths) -> list[int]:
    return sorted(rows, key=lambda row: -int(lengths[row]))


def _fill_batches(rows: Sequence[int] | NDArray[np.int64], lengths: Lengths, token_budget: int) -> list[list[int]]:
    """Split `rows` into batches of consecutive rows that fit the budget when padded to their longest row."""
    batches: list[list[int]] = []
    longest = 0
    for row in map(int, rows):
        longest = max(longest, int(lengths[row]))
        if not batches or (len(batches[-1]) + 1) * longest > token_budget:
            batches.append([])
            longest = int(lengths[row])
        batches[-1].append(row)
    return batches
