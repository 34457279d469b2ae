"""The moving average of the predictions of each training example."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Predictions(nn.Module):
    """The moving average of the predictions of each training example, with the number of predictions in it.

    Buffers: `averages` float [examples, C], 0 at first; `counts` int64 [examples].
    """

    averages: Tensor
    counts: Tensor

    def __init__(self, examples: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("averages", torch.zeros(examples, classes))
        self.register_buffer("counts", torch.zeros(examples, dtype=torch.int64))

    def targets(self, rows: Tensor, momentum: float) -> tuple[Tensor, Tensor]:
        """The averages of these examples [B, C] without their bias towards 0, and which examples have one, bool [B]."""
        counts = self.counts[rows]
        seen = counts > 0
        bias = 1 - momentum ** counts.clamp(min=1).to(self.averages.dtype)
        return self.averages[rows] / bias[:, None], seen

    @torch.no_grad()
    def add(self, rows: Tensor, predictions: Tensor, momentum: float) -> None:
        """Add predictions [B, C] of these examples, each at most once, to their averages."""
        old = self.averages[rows]
        self.averages[rows] = momentum * old + (1 - momentum) * predictions.to(old.dtype)
        self.counts[rows] += 1
