"""Changes to one forward pass: patched states, replaced layers, other parameters."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from harness.api.errors import Problem, UserError, nearest
from harness.api.live import StateFunction
from harness.models.output_names import Need, parse


@dataclass(frozen=True)
class PassChanges:
    """What a forward pass does differently. See `harness.api.live.LiveModel.run`."""

    patches: Mapping[Need, StateFunction] = field(default_factory=dict)
    layers: Mapping[int, StateFunction] = field(default_factory=dict)
    parameters: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def at_layers(self) -> bool:
        """Whether states or layers are changed."""
        return bool(self.patches or self.layers)


def parsed_patches(patches: Mapping[str, StateFunction]) -> dict[Need, StateFunction]:
    """The patches by output. Raises `UserError` for outputs that cannot be patched."""
    parsed = {name: parse(name) for name in patches}
    wrong = [name for name, need in parsed.items() if need is None or need.name not in ("embeddings", "hidden")]
    if wrong:
        raise UserError(Problem(f"{wrong[0]} cannot be patched; patches are for embeddings and hidden[i]"))
    return {need: patches[name] for name, need in parsed.items() if need is not None}


def check_parameters(names: Collection[str], known: Collection[str]) -> None:
    """Raise `UserError` if the model does not have one of the parameters `names`."""
    for name in names:
        if name not in known:
            raise UserError(Problem(f"the model has no parameter {name!r}; {nearest(name, known)}"))


def applied(function: StateFunction, states: Tensor, what: str) -> Tensor:
    """The result of `function`, which messages call `what`. Raises `ValueError` for another shape."""
    result = function(states)
    if result.shape != states.shape:
        raise ValueError(f"{what} returned shape {tuple(result.shape)}; expected {tuple(states.shape)}")
    return result


def repadded(states: Tensor, padded: Tensor) -> Tensor:
    """`states` [B, N, H] with the tokens that the encoder itself appends (Longformer), from `padded`."""
    count = states.shape[1]
    return states if padded.shape[1] == count else torch.cat([states, padded[:, count:]], dim=1)


def with_states(output: Any, states: Tensor) -> Any:
    """The output of a layer, a tensor or a tuple that begins with one, with other hidden states."""
    return states if isinstance(output, Tensor) else (states, *output[1:])
