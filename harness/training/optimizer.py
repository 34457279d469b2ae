"""The optimizer of every run: AdamW with weight decay on weight matrices, not on biases and norms."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from harness.models.parameter_groups import ParameterGroups


def adamw(modules: Iterable[nn.Module], *, weight_decay: float) -> torch.optim.AdamW:
    """AdamW over the parameters of the modules that require gradients. The learning rate is set at every step."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, fused=True)


def allocate_moments(optimizer: torch.optim.AdamW) -> None:
    """Allocate the moments of all parameters that have a gradient and no moments yet.

    The optimizer would do so in its first step, group by group: memory could run out after the weights of earlier
    groups have changed. Here nothing has changed yet. The state is that of AdamW with ``fused=True``.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None and parameter not in optimizer.state:
                optimizer.state[parameter] = {
                    "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }


def parameters_to_freeze(student: nn.Module, groups: ParameterGroups, names: Collection[str]) -> list[nn.Parameter]:
    """The trainable parameters of the groups in `names`, and those of the student with one of `names` in their dotted
    name.

    Raises:
        ValueError: a name is neither a group nor part of a parameter's name.
    """
    parts = {name for name in names if name not in groups}
    matches = {name: parameter for name, parameter in student.named_parameters() if set(name.split(".")) & parts}
    missing = parts.difference(*(name.split(".") for name in matches))
    if missing:
        raise ValueError(
            f"the student has no parameter named {', '.join(sorted(missing))}, which the stage freezes; parameter"
            f" groups: {groups.names}"
        )
    named = dict.fromkeys([*matches.values(), *groups.frozen(set(names) - parts)])
    return [parameter for parameter in named if parameter.requires_grad]


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = lr


@contextmanager
def scaled_learning_rates(optimizer: torch.optim.Optimizer, factors: Mapping[nn.Parameter, float]) -> Iterator[None]:
    """Multiply the learning rates of single parameters for one step. Does not change the optimizer's state."""
    groups = optimizer.param_groups
    if factors:
        optimizer.param_groups = [part for group in groups for part in _by_factor(group, factors)]
    try:
        yield
    finally:
        optimizer.param_groups = groups


def _by_factor(group: dict[str, Any], factors: Mapping[nn.Parameter, float]) -> list[dict[str, Any]]:
    """One group for each factor of the group's parameters."""
    parts: dict[float, list[nn.Parameter]] = {}
    for parameter in group["params"]:
        parts.setdefault(factors.get(parameter, 1.0), []).append(parameter)
    return [{**group, "params": members, "lr": group["lr"] * factor} for factor, members in parts.items()]
