"""Checks that weights and outputs are finite. Called before they are scored or stored, never in a training step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn


class NotFinite(ArithmeticError):
    """A tensor holds NaN or infinite values."""


def check_weights(model: nn.Module, when: str) -> None:
    """Raise `NotFinite` if a parameter or buffer of `model` is not finite. Waits for the device once."""
    check(model.state_dict(), f"weights are not finite {when}")


def check(tensors: Mapping[str, Tensor], message: str) -> None:
    """Raise `NotFinite` with `message` and the name of the first tensor that is not finite."""
    floating = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    if not floating:
        return
    finite = torch.stack([tensor.isfinite().all() for tensor in floating.values()]).tolist()
    broken = [name for name, is_finite in zip(floating, finite, strict=True) if not is_finite]
    if broken:
        first = floating[broken[0]]
        more = f", and {len(broken) - 1} more tensors" if len(broken) > 1 else ""
        count = int((~first.isfinite()).sum())
        raise NotFinite(f"{message}: {broken[0]} ({count} of {first.numel()} values are NaN or infinite){more}")


def check_logits(logits: Sequence[np.ndarray], ids: Sequence[str], split: str) -> None:
    """Raise `NotFinite` if the logits of an example are not finite. `ids` are the ids of the examples, in order."""
    broken = [id for id, row in zip(ids, logits, strict=True) if not np.isfinite(row).all()]
    if broken:
        raise NotFinite(
            f"logits are not finite on the split {split!r}: {len(broken)} of {len(ids)} examples, the first with id"
            f" {broken[0]!r}"
        )
