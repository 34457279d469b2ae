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


def freeze(student: nn.Module, names: Collection[str]) -> list[nn.Parameter]:
    """Exclude the student's parameters with one of `names` in their dotted name from training; returns those that were
    trained before.

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
    for group in optimizer.param_groups:
        group["lr"] = lr
