"""A model as `torch.onnx` exports it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class PlainModel(nn.Module):
    """Wraps a model: positional inputs in the order of `accepted_inputs`, a tuple of tensors as output."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, ...]:
        segments = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        outputs: tuple[torch.Tensor, ...] = self.model(
            input_ids=input_ids, attention_mask=attention_mask, **segments
        ).to_tuple()
        return outputs
