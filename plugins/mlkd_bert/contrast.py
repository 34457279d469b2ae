"""Sample contrast (Zhang et al. 2024): supervised InfoNCE over two views of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.api.lazy_torch import F, torch
from harness.api.losses import unit_vectors

if TYPE_CHECKING:
    from torch import Tensor


def sample_contrast(first: Tensor, second: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """(1/2B) sum_i (1/|P(i)|) sum_{p in P(i)} -log(exp(v_i.v_p / t) / sum_{k != i} exp(v_i.v_k / t)): a scalar.

    v are the 2B vectors of both views (`first`, `second`: [B, H]), scaled to unit length. P(i) are the other vectors of
    i's class, which always include the other view of i. `labels` is int64 [B].
    """
    vectors = unit_vectors(torch.cat([first, second]))
    classes = labels.repeat(2)
    diagonal = torch.eye(len(classes), dtype=torch.bool, device=classes.device)
    positive = (classes[:, None] == classes) & ~diagonal
    with torch.autocast(
        vectors.device.type, enabled=False
    ):  # bf16 is too coarse for cosines divided by a small temperature
        similarity = vectors @ vectors.T / temperature
    log_p = F.log_softmax(similarity.masked_fill(diagonal, torch.finfo(similarity.dtype).min), dim=-1)
    return -(log_p.masked_fill(~positive, 0).sum(-1) / positive.sum(-1)).mean()
