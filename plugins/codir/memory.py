"""Memory banks: a unit vector for each training example."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .negatives import UNKNOWN


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
