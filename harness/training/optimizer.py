"""The optimizer of every run: AdamW with weight decay on weight matrices, not on biases and norms."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import torch
from torch import nn


def adamw(modules: Iterable[nn.Module], *, weight_decay: float) -> torch.optim.AdamW:
    """AdamW over the parameters of the modules that require gradients. The learning rate is set at every step."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, fused=True)


def freeze(student: nn.Module, names: Collection[str]) -> list[nn.Parameter]:
    """Freeze the student's parameters that have one of `names` in their dotted name; returns the newly frozen ones.

    Raises:
        ValueError: a name matches no parameter.
    """
    matches = {name: parameter for name, parameter in student.named_parameters() if set(name.split(".")) & set(names)}
    missing = set(names).difference(*(name.split(".") for name in matches))
    if missing:
        raise ValueError(f"the student has no parameter named {', '.join(sorted(missing))}, which the stage freezes")
    frozen = [parameter for parameter in matches.values() if parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    return frozen


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = lr
