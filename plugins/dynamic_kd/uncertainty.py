"""How uncertain a student is about each example, and losses of each example."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness.api.batch import Batch
from harness.api.lazy_torch import F, torch
from harness.api.losses import answers_of_both, full_precision, mean_by_example

if TYPE_CHECKING:
    from torch import Tensor


def uncertainty(logits: Tensor, batch: Batch) -> Tensor:
    """The entropy of the predictions, divided by that of a uniform distribution: [B], from 0 to 1.

    With several distributions (multilabel, token classification, QA), their mean. Not for regression.
    """
    log_p = _log_probabilities(logits, batch)
    entropy = -(log_p.exp() * log_p).sum(-1)
    if batch.answer_mask is None:
        return mean_by_example(entropy / math.log(log_p.shape[-1]), batch)
    allowed = batch.answer_mask.sum(-1, keepdim=True).clamp(min=2)  # a single position has the entropy 0
    return mean_by_example(entropy / allowed.log(), batch)


def margin(logits: Tensor, batch: Batch) -> Tensor:
    """The highest probability minus the second: [B]; of several distributions the mean."""
    first, second = _log_probabilities(logits, batch).exp().topk(2, dim=-1).values.unbind(-1)
    return mean_by_example(first - second, batch)


def confidence(logits: Tensor, batch: Batch) -> Tensor:
    """The highest probability: [B]; of several distributions the mean."""
    return mean_by_example(_log_probabilities(logits, batch).exp().amax(-1), batch)


def kl_by_example(student: Tensor, teacher: Tensor, batch: Batch, temperature: float) -> Tensor:
    """t^2 KL(softmax(teacher / t) || softmax(student / t)): [B]. Not for regression."""
    log_s, log_t = (_log_probabilities(logits, batch, temperature) for logits in (student, teacher))
    return temperature**2 * mean_by_example(F.kl_div(log_s, log_t, reduction="none", log_target=True).sum(-1), batch)


def mse_by_example(student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
    """The squared difference of the logits, mean over classes: [B]. Of QA over the positions allowed for an answer, and
    to which the teacher's tokenizer gives a token."""
    if batch.answer_mask is None:
        squares = (full_precision(student) - full_precision(teacher)).square()
        return mean_by_example(squares.mean(-1, keepdim=batch.kind != "token_classification"), batch)
    # Differences of lowest values would be infinite, and their gradient not a number even where it counts 0 times.
    compared = answers_of_both(teacher, batch)
    student, teacher = (full_precision(logits.masked_fill(~compared, 0)) for logits in (student, teacher))
    return mean_by_example((student - teacher).square().sum(-1) / compared.sum(-1).clamp(min=1), batch)


def _log_probabilities(logits: Tensor, batch: Batch, temperature: float = 1.0) -> Tensor:
    """Log-probabilities [B, D, C] of the distributions of each example; of multilabel yes and no of each class."""
    logits = full_precision(logits)
    if batch.kind == "multilabel":
        logits = torch.stack([logits, torch.zeros_like(logits)], dim=-1)
    if logits.ndim == 2:
        logits = logits.unsqueeze(1)
    # the clamp: a temperature below 1 would make the lowest value of QA -inf
    return F.log_softmax((logits / temperature).clamp(min=torch.finfo(logits.dtype).min), dim=-1)
