"""Losses that several methods share, with one reduction everywhere.

Within an example: the mean over its real tokens (queries, or query-key pairs), heads and features; then the mean over
the examples. So no loss depends on how a batch is padded, ordered or cut. Each function takes what methods are given:
`Tensors` fields and the `Batch`. Half-precision inputs are reduced in float32; float64 stays float64.

What a loss on logits becomes for each kind of task: classification, over the classes; regression, the squared
difference, without a temperature; QA, over the positions where an answer may lie, for start and for end, averaged.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.batch import Batch


def task_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy with the labels, or the squared error for regression: a scalar."""
    return task_loss_by_example(logits, batch).mean()


def task_loss_by_example(logits: Tensor, batch: Batch) -> Tensor:
    """The task's loss of each example [B]."""
    if batch.kind == "regression":
        return (_full(logits)[:, 0] - batch.labels) ** 2
    log_p = F.log_softmax(_full(logits), dim=-1)
    picked = log_p.gather(-1, batch.labels.unsqueeze(-1)).squeeze(-1)  # [B], or [B, 2] for QA
    return -picked.reshape(len(picked), -1).mean(-1)


def kl_loss(student: Tensor, teacher: Tensor, batch: Batch, temperature: float = 1.0) -> Tensor:
    """KL(softmax(teacher / t) || softmax(student / t)), without the factor t^2: a scalar."""
    if batch.kind == "regression":
        return _squared_difference(student, teacher)
    log_s, log_t = _log_probabilities(student, teacher, temperature)
    return F.kl_div(log_s, log_t, reduction="none", log_target=True).sum(-1).mean()


def soft_cross_entropy(student: Tensor, teacher: Tensor, batch: Batch, temperature: float = 1.0) -> Tensor:
    """-sum softmax(teacher / t) log softmax(student / t): a scalar."""
    if batch.kind == "regression":
        return _squared_difference(student, teacher)
    log_s, log_t = _log_probabilities(student, teacher, temperature)
    return -(log_t.exp() * log_s).sum(-1).mean()


def token_mse(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of [B, N, H] over real tokens (`mask`, bool [B, N]) and features: a scalar."""
    by_token = ((_full(student) - _full(teacher)) ** 2).mean(-1)
    return _mean_over_tokens(by_token, mask)


def pair_mse(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of scores [B, A, N, N] over real query-key pairs and heads: a scalar."""
    difference = ((_full(student) - _full(teacher)) ** 2).mean(1)
    by_query = difference.masked_fill(~mask[:, None, :], 0).sum(-1) / mask.sum(-1)[:, None]
    return _mean_over_tokens(by_query, mask)


def attention_probabilities(scores: Tensor, mask: Tensor) -> Tensor:
    """softmax of scores [B, A, N, N] over the real keys."""
    return _log_attention(scores, mask).exp()


def attention_kl(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """KL(teacher || softmax(student)) of the teacher's probabilities and the student's scores, both [B, A, N, N]; real
    keys only, summed over keys, mean over heads and real queries: a scalar."""
    by_query = (torch.xlogy(teacher, teacher) - teacher * _log_attention(student, mask)).sum(-1).mean(1)
    return _mean_over_tokens(by_query, mask)


def attention_cosine(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """1 - cosine between the teacher's probabilities and the softmax of the student's scores, both [B, A, N, N]; mean
    over heads and real queries: a scalar."""
    by_query = (1 - F.cosine_similarity(attention_probabilities(student, mask), teacher, dim=-1)).mean(1)
    return _mean_over_tokens(by_query, mask)


def projection(width: int, target: int) -> nn.Linear:
    """A learnable map [width, target] without bias; between equal widths it starts as the identity."""
    linear = nn.Linear(width, target, bias=False)
    if width == target:
        nn.init.eye_(linear.weight)
    return linear


def _full(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _squared_difference(student: Tensor, teacher: Tensor) -> Tensor:
    return ((_full(student) - _full(teacher)) ** 2).mean()


def _log_probabilities(student: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    # QA logits hold the dtype's lowest value where no answer may lie; log_softmax keeps it finite: 0 * log 0 is 0.
    return (
        F.log_softmax(_full(student) / temperature, dim=-1),
        F.log_softmax(_full(teacher) / temperature, dim=-1),
    )


def _log_attention(scores: Tensor, mask: Tensor) -> Tensor:
    scores = _full(scores)
    return F.log_softmax(scores.masked_fill(~mask[:, None, None, :], torch.finfo(scores.dtype).min), dim=-1)


def _mean_over_tokens(by_token: Tensor, mask: Tensor) -> Tensor:
    return (by_token.masked_fill(~mask, 0).sum(-1) / mask.sum(-1)).mean()
