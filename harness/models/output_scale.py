"""Rescales the output of a regression model by its last linear layer.

A model of a task with standardized labels (`Task.standardize`) answers in standard deviations from the mean label while
it is trained and scored, so that losses between models are in one unit, and in the unit of the labels in every folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from harness.api.errors import UserError
from harness.models.introspection import TOKENS, evaluating, find_parts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from harness.api.task import LabelScale


def output_layer(model: PreTrainedModel, name: str) -> nn.Linear:
    """Return the linear layer of which the logits of `model`, in eval mode on the CPU, are the output.

    `name` is that of the task, for messages.

    Raises:
        UserError: the model has none with a bias.
    """
    head = find_parts(model).head
    if head is not None and head.bias is not None:
        before = logits_of_a_few_tokens(model)
        with _rescaled(head, 2.0, 1.0):
            after = logits_of_a_few_tokens(model)
        if torch.allclose(after, 2 * before + 1, rtol=1e-4, atol=1e-5):
            return head
    raise UserError(
        f"task {name!r} has standardized labels, and the head of {type(model).__name__} does not end with a linear"
        " layer that has a bias, to which their mean and standard deviation can be moved; remove `standardize`, or"
        " take a model of another family"
    )


def standardize(head: nn.Linear, scale: LabelScale) -> None:
    """Change an output layer in the unit of the labels to one in standard deviations from their mean."""
    _rescale(head, 1 / scale.unit, -scale.mean / scale.unit)


@contextmanager
def in_label_unit(model: PreTrainedModel, scale: LabelScale | None) -> Iterator[None]:
    """Let a model answer in the unit of the labels, to save it; on exit it has its weights of before, bit by bit.

    `scale`: of its task; None: its labels are not standardized, and nothing changes.
    """
    head = find_parts(model).head if scale is not None else None
    if scale is None or head is None:  # `output_layer` has found it when the model was built
        yield
        return
    with _rescaled(head, scale.unit, scale.mean):
        yield


def logits_of_a_few_tokens(model: PreTrainedModel) -> torch.Tensor:
    """The logits of a model in eval mode on the CPU."""
    tokens = torch.arange(TOKENS).unsqueeze(0)
    with torch.no_grad(), evaluating(model):
        logits: torch.Tensor = model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits
    return logits


@contextmanager
def _rescaled(head: nn.Linear, factor: float, offset: float) -> Iterator[None]:
    kept = [parameter.detach().clone() for parameter in head.parameters()]
    _rescale(head, factor, offset)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, before in zip(head.parameters(), kept, strict=True):
                parameter.copy_(before)


def _rescale(head: nn.Linear, factor: float, offset: float) -> None:
    """Change the output y of `head` to factor * y + offset, computed in float64."""
    with torch.no_grad():
        head.weight.copy_(head.weight.double() * factor)
        head.bias.copy_(head.bias.double() * factor + offset)
