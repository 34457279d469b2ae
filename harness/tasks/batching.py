"""Which examples share a batch, and in which order the batches come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from harness.config.schema import Batching

POOL = 50
"""Batches that `bucketed` sorts by length together."""

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
    """One epoch's batches of row numbers: every row once, within a batch the longest first.

    The same arguments give the same batches on every machine. The rows of an epoch are shuffled and cut into batches;
    one batch is smaller where the rows do not divide. ``random`` and ``grouped`` are the same here. ``bucketed`` sorts
    pools of `POOL` batches by length before it cuts them.

    With a `token_budget`, a batch has as many rows as their tokens allow, padded to the longest, whatever `batch_size`
    is: how many batches that makes differs a little from epoch to epoch. A row that is longer has a batch to itself.
    """
    random = np.random.Generator(np.random.PCG64([seed % 2**64, epoch]))
    order = random.permutation(len(lengths))
    if batching != "bucketed":
        cut = _cut(order, batch_size) if token_budget is None else _filled_batches(order, lengths, token_budget)
        return [_longest_first(rows, lengths) for rows in cut]
    rows = batch_size if token_budget is None else max(1, int(token_budget / np.mean(lengths)))
    batches: list[list[int]] = []
    for pool in _cut(order, POOL * rows):
        # From the longest row on, so that what is left for a smaller batch are short ones.
        pool = _longest_first(pool, lengths)
        batches += _cut(pool, batch_size) if token_budget is None else _filled_batches(pool, lengths, token_budget)
    return [batches[index] for index in random.permutation(len(batches))]


def eval_batches(lengths: Lengths, batch_size: int) -> list[list[int]]:
    """All rows once, longest first, so that what would not fit in memory shows at once."""
    ordered = np.argsort(np.asarray(lengths), kind="stable").tolist()
    return [ordered[first : first + batch_size] for first in range(0, len(ordered), batch_size)][::-1]


def _cut(rows: Sequence[int] | NDArray[np.int64], size: int) -> Iterator[list[int]]:
    return ([int(row) for row in rows[first : first + size]] for first in range(0, len(rows), size))


def _longest_first(rows: Sequence[int], lengths: Lengths) -> list[int]:
    return sorted(rows, key=lambda row: -int(lengths[row]))


def _filled_batches(rows: Sequence[int] | NDArray[np.int64], lengths: Lengths, token_budget: int) -> list[list[int]]:
    """Consecutive rows, as many as the budget allows with all of them padded to their longest."""
    batches: list[list[int]] = []
    longest = 0
    for row in map(int, rows):
        longest = max(longest, int(lengths[row]))
        if not batches or (len(batches[-1]) + 1) * longest > token_budget:
            batches.append([])
            longest = int(lengths[row])
        batches[-1].append(row)
    return batches
