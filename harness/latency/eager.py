"""PyTorch as it is: models as transformers writes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from harness.api.latency_backend import Inputs, Outputs, Program
from harness.latency import machine
from harness.latency.model_inputs import accepted_inputs, select_inputs

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Eager:
    """PyTorch, as transformers writes its models."""

    exact = True
    packages: tuple[str, ...] = ()

    def obstacle(self, device: torch.device) -> str | None:
        return None

    def program(self, model: PreTrainedModel, device: torch.device, example: Inputs) -> Program:
        return TorchProgram(model, accepted_inputs(model), device)


class TorchProgram:
    """A call of torch: of a model, or of what was made of it."""

    def __init__(self, forward: Callable[..., Any], names: Sequence[str], device: torch.device) -> None:
        self._forward = forward
        self._names = names
        self._device = device

    def bind(self, inputs: Inputs) -> Callable[[], Outputs]:
        there = {name: tensor.to(self._device) for name, tensor in select_inputs(self._names, inputs).items()}

        def call() -> Outputs:
            with torch.inference_mode():
                outputs = [tensor.cpu().numpy() for tensor in self._forward(**there).to_tuple()]
            machine.synchronize(self._device)
            return outputs

        return call
