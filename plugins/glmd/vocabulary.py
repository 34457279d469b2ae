"""Losses between distributions over the vocabulary, computed for a part of the tokens at a time.

Logits over a vocabulary, [B, N, V], are the largest tensors of a text stage, and every step of a loss on them has as
many numbers. Of these intermediate results only those of one part exist at a time; the backward pass computes them
again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

from harness.api.lazy_torch import F, torch
from harness.api.losses import full_precision

if TYPE_CHECKING:
    from torch import Tensor

MAX_NUMBERS = 2**25
"""The most logits in one part: 128 MiB in float32. It depends on shapes only, so that losses are bit-identical."""

TokenLoss = Callable[["Tensor", "Tensor"], "Tensor"]
"""Computes the loss of each token [n] from logits of the student and the teacher, [n, V] each."""


def token_loss(kind: Literal["kl", "mse"], temperature: float, top_n: int | None) -> TokenLoss:
    """The loss of a token: t^2 KL(softmax(z_T / t) || softmax(z_S / t)), or the mean squared difference of logits.

    Args:
        kind: ``kl`` or ``mse``.
        temperature: t; ``mse`` has none.
        top_n: compare only the teacher's n largest logits, and the student's of the same tokens of the vocabulary.
    """
    loss = _mse if kind == "mse" else partial(_kl, temperature=temperature)
    return loss if top_n is None else partial(_of_top, loss, top_n)


def by_token(loss: TokenLoss, student: Tensor, teacher: Tensor) -> Tensor:
    """The loss of each token [B, N] from logits [B, N, V], in parts."""
    from torch.utils.checkpoint import checkpoint

    rows = max(1, MAX_NUMBERS // student.shape[-1])
    parts = zip(torch.split(student.flatten(0, 1), rows), torch.split(teacher.flatten(0, 1), rows), strict=True)
    losses = [checkpoint(loss, *part, use_reentrant=False, preserve_rng_state=False) for part in parts]
    return torch.cat(losses).view(student.shape[:2])


def _kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    log_s, log_t = (F.log_softmax(full_precision(logits) / temperature, dim=-1) for logits in (student, teacher))
    return temperature**2 * F.kl_div(log_s, log_t, reduction="none", log_target=True).sum(-1)


def _mse(student: Tensor, teacher: Tensor) -> Tensor:
    return ((full_precision(student) - full_precision(teacher)) ** 2).mean(-1)


def _of_top(loss: TokenLoss, count: int, student: Tensor, teacher: Tensor) -> Tensor:
    largest, indices = teacher.topk(min(count, teacher.shape[-1]), dim=-1)
    return loss(student.gather(-1, indices), largest)
