"""The loss of matches on logits: KL, cross-entropy or squared error, with a temperature of the step or the example."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import Batch
from harness.api.batch import IGNORED
from harness.api.lazy_torch import torch
from harness.api.losses import (
    answers_of_both,
    full_precision,
    mean_over_distributions,
    soft_cross_entropies,
    soft_cross_entropy,
    soft_target_loss,
)

from .config import ExampleTemperature

if TYPE_CHECKING:
    from torch import Tensor

EPSILON = 1e-4
"""Added to the length of logits (TextBrewer's `flsw`)."""

CONFIDENCE_EPSILON = 1e-3
"""Added to the largest probability (TextBrewer's `cwsm`)."""


def loss(kind: str, student: Tensor, teacher: Tensor, batch: Batch, temperature: float | Tensor) -> Tensor:
    """The loss between logits: ``kl`` is multiplied by the squared temperature, ``ce`` and ``mse`` are not: a scalar.

    A temperature [B] or [B, D] is one of each example, or of each of its D distributions.
    """
    if kind == "mse" and batch.kind != "regression":
        return _squared_error(student, teacher, batch, temperature)
    if isinstance(temperature, torch.Tensor):
        return _by_example(kind, student, teacher, batch, temperature)
    if kind == "kl":
        return soft_target_loss(student, teacher, batch, temperature)
    return soft_cross_entropy(student, teacher, batch, temperature)


def _by_example(kind: str, student: Tensor, teacher: Tensor, batch: Batch, temperature: Tensor) -> Tensor:
    scale = temperature.unsqueeze(-1)
    student, teacher = full_precision(student) / scale, full_precision(teacher) / scale
    losses = soft_cross_entropies(student, teacher, batch)
    if kind == "kl":
        losses = (losses - soft_cross_entropies(teacher, teacher, batch)) * temperature.reshape(len(losses), -1) ** 2
    return mean_over_distributions(losses, batch)


def _squared_error(student: Tensor, teacher: Tensor, batch: Batch, temperature: float | Tensor) -> Tensor:
    """Mean squared error of logits / t over the classes, for QA over `answers_of_both`: a scalar."""
    scale = temperature.unsqueeze(-1) if isinstance(temperature, torch.Tensor) else temperature
    difference = full_precision(student) - full_precision(teacher)
    if batch.answer_mask is None:
        losses = (difference / scale).square().mean(-1)
        return mean_over_distributions(losses.reshape(len(losses), -1), batch)
    compared = answers_of_both(teacher, batch)
    squared = (difference.masked_fill(~compared, 0) / scale).square().sum(-1) / compared.sum(-1).clamp(min=1)
    return mean_over_distributions(squared, batch)


def example_temperature(
    rule: ExampleTemperature, student: Tensor, teacher: Tensor, batch: Batch, temperature: float
) -> Tensor:
    """The temperature of each distribution, [B], or [B, 2] for QA, without gradients: t + beta (mean of w - w).

    The mean is over the examples of the batch, for start and end of QA each. A weight of cwsm can be as large as the
    number of positions, so the temperature has a positive minimum.
    """
    student, teacher = full_precision(student.detach()), full_precision(teacher.detach())
    if rule.rule == "cwsm":
        weights = 1 / (student.softmax(-1).amax(-1) + CONFIDENCE_EPSILON)
    else:
        if batch.answer_mask is not None:
            compared = answers_of_both(teacher, batch)
            student, teacher = student.masked_fill(~compared, 0), teacher.masked_fill(~compared, 0)
        units = [z / (z.norm(dim=-1, keepdim=True) + EPSILON) for z in (student, teacher)]
        weights = (1 - (units[0] * units[1]).sum(-1)).clamp(min=0) ** rule.gamma
    return (temperature + (weights.mean(0) - weights) * rule.beta).clamp(min=rule.minimum * temperature)


def shifted(logits: Tensor, batch: Batch) -> Tensor:
    """The logits, in which the largest one is exchanged with that of the label: a new tensor."""
    labels = batch.labels.reshape(logits.shape[:-1])
    largest = logits.argmax(-1)
    labels = labels.where(labels != IGNORED, largest) if batch.kind == "token_classification" else labels
    places = (largest.unsqueeze(-1), labels.unsqueeze(-1))
    values = [logits.gather(-1, place) for place in places]
    return logits.scatter(-1, places[0], values[1]).scatter(-1, places[1], values[0])
