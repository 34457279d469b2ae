"""The backend `eager`: PyTorch without compilation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from harness.api.latency_backend import Inputs, Outputs, Program
from harness.api.lazy_torch import torch
from harness.latency import machine
from harness.latency.model_inputs import accepted_inputs, select_inputs

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Eager:
    """Eager PyTorch on the transformers model."""

    exact = True
    packages: tuple[str, ...] = ()

    def obstacle(self, device: torch.device) -> str | None:
        return None

    def program(self, model: PreTrainedModel, device: torch.device, example: Inputs) -> Program:
        return TorchProgram(model, accepted_inputs(model), device)


class TorchProgram:
    """A program that calls a PyTorch model or function."""

    def __init__(self, forward: Callable[..., Any], names: Sequence[str], device: torch.device) -> None:
        self._forward = forward
        self._names = names
        self._device = device

    def bind(self, inputs: Inputs) -> Callable[[], Outputs]:
        on_device = {name: tensor.to(self._device) for name, tensor in select_inputs(self._names, inputs).items()}

        def call() -> Outputs:
            with torch.inference_mode():
                outputs = [tensor.cpu().numpy() for tensor in self._forward(**on_device).to_tuple()]
            machine.synchronize(self._device)
            return outputs

        return call
