"""The optimiser that every run gets: AdamW, weights decayed, biases and norms not."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import torch
from torch import nn


def adamw(modules: Iterable[nn.Module], *, weight_decay: float) -> torch.optim.AdamW:
    """Over all parameters of the modules. The loop sets the learning rate at every step."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, fused=True)


def freeze(student: nn.Module, names: Collection[str]) -> None:
    """Exclude the student's parameters with one of `names` in their dotted name from training, and include all others.

    Raises:
        ValueError: a name matches no parameter.
    """
    missing = set(names)
    for dotted, parameter in student.named_parameters():
        found = set(dotted.split(".")).intersection(names)
        parameter.requires_grad_(not found)
        missing -= found
    if missing:
        raise ValueError(f"the student has no parameter named {', '.join(sorted(missing))}, which the stage freezes")


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr
