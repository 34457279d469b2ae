"""The divergence of two distributions, split at a target class: Zhao et al. 2022, section 3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.api.lazy_torch import F, torch
from harness.api.losses import NO_LOGIT, full_precision

if TYPE_CHECKING:
    from torch import Tensor


def decoupled_kl(student: Tensor, teacher: Tensor, target: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """KL(b_T || b_S) and KL(q_T || q_S), [...] each, of p = softmax(z / temperature): b = (p[target], 1 - p[target]),
    and q is p without the target, scaled to a sum of 1.

    All in logarithms, so that both are finite for any logits. Where the teacher has a logit for the target only, the
    second is 0.

    Args:
        student: logits [..., C].
        teacher: likewise; values below `NO_LOGIT` are none, such as positions of QA that allow no answer.
        target: int64 [...], from 0 to C - 1; the result at any other number means nothing.
    """
    student, teacher = _scaled(student, temperature), _scaled(teacher, temperature)
    is_target = torch.arange(student.shape[-1], device=target.device) == target.unsqueeze(-1)
    own, theirs = (_log_binary(logits, is_target) for logits in (student, teacher))
    own_rest, their_rest = (F.log_softmax(_masked(logits, is_target), dim=-1) for logits in (student, teacher))
    among_others = _divergences(own_rest, their_rest).masked_fill(is_target | (teacher < NO_LOGIT), 0)
    return _divergences(own, theirs).sum(-1), among_others.sum(-1)


def _scaled(logits: Tensor, temperature: float) -> Tensor:
    """The clamp: a temperature below 1 would make the lowest value, which QA has, infinite."""
    logits = full_precision(logits)
    return (logits / temperature).clamp(min=torch.finfo(logits.dtype).min)


def _masked(logits: Tensor, mask: Tensor) -> Tensor:
    return logits.masked_fill(mask, torch.finfo(logits.dtype).min)


def _log_binary(logits: Tensor, is_target: Tensor) -> Tensor:
    """log(p[target], 1 - p[target]), [..., 2]."""
    log_p = F.log_softmax(logits, dim=-1)
    return torch.stack([_masked(log_p, mask).logsumexp(-1) for mask in (~is_target, is_target)], dim=-1)


def _divergences(student: Tensor, teacher: Tensor) -> Tensor:
    """The summands of KL(teacher || student), of logarithms of probabilities."""
    return F.kl_div(student, teacher, reduction="none", log_target=True)
