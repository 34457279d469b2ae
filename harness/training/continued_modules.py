"""Modules of a method that continue from one run to others: from its text stage to the runs on tasks."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor, nn

NO_WEIGHTS: Mapping[str, Tensor] = MappingProxyType({})
"""The modules keep their initial weights."""


def weights_of(modules: nn.ModuleDict) -> dict[str, Tensor]:
    """Copies of the parameters and buffers by name, on the CPU; each has memory of its own, as safetensors requires."""
    state = modules.state_dict().items()
    return {name: value.cpu().clone().contiguous() for name, value in state if isinstance(value, Tensor)}


def continue_from(weights: Mapping[str, Tensor], modules: nn.ModuleDict) -> None:
    """Load, in place, the entries whose name and shape `modules` has, too. Others keep their values: those of a task
    may differ from those of text, for instance in the number of examples."""
    own = modules.state_dict()
    shared = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    modules.load_state_dict(shared, strict=False)
