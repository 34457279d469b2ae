"""Filters of hidden states, one for each layer, and the heads that train them on the task."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from harness.api.batch import Batch
from harness.api.lazy_torch import F, nn, torch
from harness.api.losses import task_loss
from harness.api.method import TaskInfo

if TYPE_CHECKING:
    from torch import Tensor

INITIAL_STD = 0.02
"""Of the weights, as transformers initializes those of DeBERTa in the authors' code."""

OF_TOKENS = ("qa", "token_classification")
"""Kinds of task whose predictions are for tokens: their heads read every token, those of others the first one."""


def filter_modules(
    model: str, task: TaskInfo, layers: Iterable[int], width: int, filtered: int
) -> dict[str, nn.Linear]:
    """The filters and heads of the layers of a model, by name.

    Args:
        model: ``student`` or ``teacher``, for the names.
        layers: layers of the student, for the names: those of the teacher are named by what they teach.
        width, filtered: of the hidden states, and of what the filters make of them.
    """
    modules = {}
    for layer in layers:
        modules[f"{model}_filter_{layer}"] = _linear(width, filtered)
        if task.kind not in OF_TOKENS:
            modules[f"{model}_pooler_{layer}"] = _linear(filtered, filtered)
        modules[f"{model}_head_{layer}"] = _linear(filtered, task.num_labels)
    return modules


def _linear(width: int, target: int) -> nn.Linear:
    linear = nn.Linear(width, target)
    nn.init.normal_(linear.weight, std=INITIAL_STD)
    nn.init.zeros_(linear.bias)
    return linear


def filtered_states(modules: nn.ModuleDict, model: str, layer: int, hidden: Tensor) -> Tensor:
    """The filtered hidden states of a layer: [B, N, H] to [B, N, F]."""
    filtered: Tensor = modules[f"{model}_filter_{layer}"](hidden)
    return filtered


def task_loss_of_layer(modules: nn.ModuleDict, model: str, layer: int, hidden: Tensor, batch: Batch) -> Tensor:
    """The task loss of the predictions from the filtered hidden states [B, N, H] of a layer: a scalar."""
    states, head = filtered_states(modules, model, layer, hidden), modules[f"{model}_head_{layer}"]
    if batch.kind not in OF_TOKENS:
        return task_loss(head(F.gelu(modules[f"{model}_pooler_{layer}"](states[:, 0]))), batch)
    logits: Tensor = head(states)
    if batch.answer_mask is not None:
        logits = logits.transpose(1, 2)
        logits = logits.masked_fill(~batch.answer_mask.bool()[:, None], torch.finfo(logits.dtype).min)
    return task_loss(logits, batch)
