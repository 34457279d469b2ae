"""The backend `eager`: PyTorch without compilation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.api.latency_backend import Inputs, Program, TorchProgram

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class Eager:
    """Eager PyTorch on the transformers model."""

    exact = True
    packages: tuple[str, ...] = ()

    def obstacle(self, device: torch.device) -> str | None:
        return None

    def program(self, model: PreTrainedModel, device: torch.device, example: Inputs) -> Program:
        return TorchProgram(model, device)
