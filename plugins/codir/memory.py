"""Memory banks: a unit vector for each training example, and negatives that are drawn from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.api.seeds import derive

UNKNOWN = -1
"""The class of an example that has not been seen yet."""


class Memory(nn.Module):
    """The vectors of all training examples by model, and their classes as far as they have been seen.

    Vectors are random at first. All state is in buffers.

    Args:
        models: names of the models that have a bank.
        examples: number of training examples.
        width: width of the vectors.
        momentum: weight of the old vector when a new one comes.
    """

    classes: Tensor

    def __init__(self, models: Iterable[str], *, examples: int, width: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("classes", torch.full((examples,), UNKNOWN))
        for name in models:
            self.register_buffer(name, F.normalize(torch.randn(examples, width), dim=-1))
            self.register_buffer(f"{name}_scale", torch.zeros(()))

    def update(self, name: str, rows: Tensor, vectors: Tensor) -> None:
        """Move the vectors of `rows` towards new ones."""
        bank: Tensor = getattr(self, name)
        mixed = self.momentum * bank[rows] + (1 - self.momentum) * vectors.to(bank.dtype)
        bank[rows] = F.normalize(mixed, dim=-1)


def draws(rows: Sequence[int], count: int, *, seed: int, step: int) -> Tensor:
    """`count` uniform numbers in [0, 1) for each of `rows`, float64.

    They depend on the seed, the step and the row only, not on the batch that the row is in.
    """
    numbers = []
    for row in rows:
        generator = torch.Generator().manual_seed(derive(seed, "negatives", str(step), str(row)))
        numbers.append(torch.rand(count, generator=generator, dtype=torch.float64))
    return torch.stack(numbers)


def other_rows(uniform: Tensor, rows: Tensor, examples: int) -> tuple[Tensor, Tensor]:
    """Rows other than one's own for the numbers `uniform` [B, K]: the rows, and which are valid, [B, K] each."""
    drawn = (uniform * (examples - 1)).long().clamp(0, max(examples - 2, 0))
    drawn = drawn + (drawn >= rows[:, None]).long()
    valid = drawn < examples  # of a single example there is no other
    return drawn.clamp(max=examples - 1), valid


def rows_of_other_classes(
    uniform: Tensor, rows: Tensor, labels: Tensor, classes: Tensor, num_labels: int
) -> tuple[Tensor, Tensor]:
    """As `other_rows`, of the examples whose class is another one, or not known yet.

    Does not wait for the device.
    """
    drawn = torch.zeros_like(uniform, dtype=torch.long)
    valid = torch.zeros_like(uniform, dtype=torch.bool)
    for label in range(num_labels):
        counted = (classes != label).cumsum(0)  # at a row of another class: how many there are up to it
        count = counted[-1]
        place = (uniform * count).long().minimum(count - 1)
        found = torch.searchsorted(counted, place + 1).clamp(max=len(classes) - 1)
        own = (labels == label)[:, None]
        drawn = torch.where(own, found, drawn)
        valid |= own & (count > 0)
    return drawn, valid & (drawn != rows[:, None])
