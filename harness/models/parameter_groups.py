"""Groups of a run's parameters by the part of the model: embeddings, layers, head, and the method's modules."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch and transformers
    from torch import nn
    from transformers import PreTrainedModel

    from harness.models.introspection import ModelParts

EMBEDDINGS, HEAD, MODULES = "embeddings", "head", "modules"
"""Names of groups; the others are ``layer[i]``, counted from 1, and ``modules.NAME``."""

LAYER = re.compile(r"layer\[(.*)\]")


def missing_layers(names: Iterable[str], layers: int) -> list[str]:
    """Those of `names` that have the form of a layer's group, but are no layer of a student with `layers` layers."""
    known = {f"layer[{index}]" for index in range(1, layers + 1)}
    return sorted(name for name in names if LAYER.fullmatch(name) and name not in known)


class ParameterGroups:
    """The parameters of a student and of a method's modules, by the names of groups that methods use.

    ``head`` is all of the student behind its last layer. ``embeddings`` is the rest of the encoder outside its layers.
    Weights that several groups share (layers of ALBERT, tied word embeddings) are in each of them.
    """

    def __init__(self, student: PreTrainedModel, parts: ModelParts, modules: nn.ModuleDict) -> None:
        encoder = student.base_model
        encoder_modules = set(encoder.modules())
        layers = [list(layer.parameters()) for layer in parts.layers]
        inside = {id(parameter) for layer in layers for parameter in layer}
        head = _own(module for module in student.modules() if module in parts.behind or module not in encoder_modules)
        behind = {id(parameter) for parameter in _own(parts.behind)}
        self._parameters: dict[str, list[nn.Parameter]] = {
            EMBEDDINGS: [p for p in encoder.parameters() if id(p) not in inside | behind],
            **{f"layer[{index}]": layer for index, layer in enumerate(layers, start=1)},
            HEAD: [parameter for parameter in head if id(parameter) not in inside],
            MODULES: list(modules.parameters()),
            **{f"{MODULES}.{name}": list(module.parameters()) for name, module in modules.items()},
        }

    def __contains__(self, name: str) -> bool:
        return name in self._parameters

    def release(self) -> None:
        """Forget the parameters, so that their memory can be freed."""
        self._parameters.clear()

    @property
    def names(self) -> str:
        """The names of all groups, for messages."""
        layers = [name for name in self._parameters if name.startswith("layer[")]
        listed = layers if len(layers) < 3 else [f"{layers[0]} to {layers[-1]}"]
        own = [name for name in self._parameters if name.startswith(f"{MODULES}.")]
        return ", ".join([EMBEDDINGS, *listed, HEAD, MODULES, *own])

    def frozen(self, names: Collection[str]) -> list[nn.Parameter]:
        """The parameters of the groups `names`, without those that are shared with another group of the student."""
        factors = self.factors(dict.fromkeys(names, 0.0))
        return [parameter for parameter, factor in factors.items() if factor == 0]

    def factors(self, by_group: Mapping[str, float]) -> dict[nn.Parameter, float]:
        """The factor of each parameter whose factor is not 1; of shared weights, the largest of their groups.

        Raises:
            ValueError: there is no group of this name, or a factor is not a finite number of at least 0.
        """
        for name, factor in by_group.items():
            if name not in self:
                raise ValueError(f"there is no parameter group {name!r}; groups: {self.names}")
            if not (isinstance(factor, int | float) and 0 <= factor < float("inf")):
                raise ValueError(f"the factor of {name!r} is {factor!r}; it must be a finite number of at least 0")
        if not by_group:
            return {}
        factors: dict[nn.Parameter, float] = {}
        for name, parameters in self._parameters.items():
            if not name.startswith(f"{MODULES}."):
                for parameter in parameters:
                    factors[parameter] = max(factors.get(parameter, 0.0), float(by_group.get(name, 1.0)))
            elif name in by_group:
                factors |= dict.fromkeys(parameters, float(by_group[name]))
        return {parameter: factor for parameter, factor in factors.items() if factor != 1}


def _own(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    """The parameters that the modules hold themselves, without those of their submodules."""
    return [parameter for module in modules for parameter in module.parameters(recurse=False)]
