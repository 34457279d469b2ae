"""The negatives of an example: random rows of a memory bank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.api.lazy_torch import torch
from harness.api.seeds import derive

if TYPE_CHECKING:
    from torch import Tensor

UNKNOWN = -1
"""The class of an example that has not been seen yet."""

BITS = 32
"""Of a drawn integer. The place in a list of n rows is ``drawn * n >> BITS``: float64, which is exact enough for long
lists, too, does not exist on every device. A row is more likely than another by a share of n / 2^32 at most."""


def draws(rows: Sequence[int], count: int, *, seed: int, step: int) -> Tensor:
    """`count` uniform integers from 0 to below 2^BITS for each of `rows`, int64 [len(rows), count] on the CPU.

    They depend on the seed, the step and the row only, not on the batch that the row is in.
    """
    numbers = []
    for row in rows:
        generator = torch.Generator().manual_seed(derive(seed, "negatives", str(step), str(row)))
        numbers.append(torch.randint(1 << BITS, (count,), generator=generator))
    return torch.stack(numbers)


def other_rows(numbers: Tensor, rows: Tensor, examples: int) -> tuple[Tensor, Tensor]:
    """Rows other than one's own for the `numbers` [B, K] of `draws`: the rows, and which are valid, [B, K] each."""
    drawn = numbers * (examples - 1) >> BITS
    drawn = drawn + (drawn >= rows[:, None]).long()
    valid = drawn < examples  # of a single example there is no other
    return drawn.clamp(max=examples - 1), valid


def rows_of_other_classes(
    numbers: Tensor, rows: Tensor, labels: Tensor, classes: Tensor, num_labels: int
) -> tuple[Tensor, Tensor]:
    """As `other_rows`, of the examples whose class is another one, or not known yet.

    Does not wait for the device.
    """
    drawn = torch.zeros_like(numbers)
    valid = torch.zeros_like(numbers, dtype=torch.bool)
    for label in range(num_labels):
        counted = (classes != label).cumsum(0)  # at a row of another class: how many there are up to it
        count = counted[-1]
        place = numbers * count >> BITS
        found = torch.searchsorted(counted, place + 1).clamp(max=len(classes) - 1)
        own = (labels == label)[:, None]
        drawn = torch.where(own, found, drawn)
        valid |= own & (count > 0)
    return drawn, valid & (drawn != rows[:, None])
