"""Losses on pairs and triangles of vectors (Liu et al. 2022, section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.api.chunked_attention import MAX_PAIRS
from harness.api.lazy_torch import F, torch
from harness.api.losses import directions, full_precision, score_mse

if TYPE_CHECKING:
    from torch import Tensor


def pair_loss(student: Tensor, teacher: Tensor, mask: Tensor, heads: int) -> Tensor:
    """Mean squared error of x_i.x_j / sqrt(H / heads) over the pairs of an example's units and the heads: a scalar.

    `student` and `teacher` are [B, U, H]; `mask`, bool [B, U], is True at the units that exist.
    """
    with torch.autocast(student.device.type, enabled=False):  # products of whole vectors are large
        own, theirs = (_by_head(vectors, heads) for vectors in (student, teacher))
        return score_mse((own, own), [(theirs, theirs)], mask)


def triangle_loss(student: Tensor, teacher: Tensor, mask: Tensor, heads: int, *, anchors: int, partners: int) -> Tensor:
    """Smooth L1 of cos(x_j - x_i, x_k - x_i), j != k, mean over the triangles of an example, then over examples.

    Only for the anchors i and, for each, the partners j and k that matter most to the teacher, see `important`. An
    example without a triangle counts as 0.
    """
    chosen, chosen_mask, partner, partner_mask = important(teacher, mask, heads, anchors, partners)
    own, theirs = (_angles(vectors, chosen, partner) for vectors in (student, teacher))
    off_diagonal = ~torch.eye(partner.shape[-1], dtype=torch.bool, device=mask.device)
    real = partner_mask[..., :, None] & partner_mask[..., None, :] & chosen_mask[..., None, None] & off_diagonal
    losses = F.smooth_l1_loss(own, theirs, reduction="none").masked_fill(~real, 0)
    return (losses.sum((1, 2, 3)) / real.sum((1, 2, 3)).clamp(min=1)).mean()


def important(
    teacher: Tensor, mask: Tensor, heads: int, anchors: int, partners: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The K1 anchors and the K2 partners of each anchor, by the teacher's pairs.

    P is the softmax over j of the teacher's pair scores, summed over heads. Anchors have the largest column sums of P;
    partners of anchor i have the largest entries of row P_i, without i itself.

    Returns:
        Indices of the anchors [B, K1], which of them exist, indices of partners [B, K1, K2], which of them exist. K1
        is at most U, K2 at most U - 1.
    """
    units = mask.shape[1]
    with torch.no_grad():
        weights = _attention(teacher, mask, heads)
        received, anchor = weights.sum(1).masked_fill(~mask, -1).topk(min(anchors, units), dim=-1)
        rows = weights.gather(1, anchor[..., None].expand(-1, -1, units))
        itself = anchor[..., None] == torch.arange(units, device=anchor.device)
        given, partner = rows.masked_fill(~mask[:, None] | itself, -1).topk(min(partners, units - 1), dim=-1)
        return anchor, received >= 0, partner, given >= 0


def sample_loss(student: Tensor, teacher: Tensor, heads: int) -> Tensor:
    """Smooth L1 of the angles of all triangles of a batch's examples, mean over triangles and heads: a scalar.

    `student` and `teacher` have a vector for each example, [B, H]. Takes B x B x B x heads numbers; 0 for B < 3.
    """
    count = len(student)
    own, theirs = (_sample_angles(vectors, heads) for vectors in (student, teacher))
    different = ~torch.eye(count, dtype=torch.bool, device=student.device)
    triangle = different[:, :, None] & different[:, None, :] & different
    losses = F.smooth_l1_loss(own, theirs, reduction="none").masked_fill(~triangle, 0)
    return losses.sum() / max(heads * count * (count - 1) * (count - 2), 1)


def mean_vector(tokens: Tensor, mask: Tensor) -> Tensor:
    """The mean of [B, N, H] over an example's real tokens (`mask`, bool [B, N]): [B, H]."""
    return full_precision(tokens).masked_fill(~mask[..., None], 0).sum(1) / mask.sum(-1, keepdim=True)


def _sample_angles(samples: Tensor, heads: int) -> Tensor:
    """Cosines [heads, i, j, k] of the angles of vectors [B, H] at i, between j and k."""
    by_head = full_precision(samples).reshape(len(samples), heads, -1).transpose(0, 1)
    return _cosines(directions(by_head[:, None], by_head[:, :, None]))


def _angles(vectors: Tensor, anchor: Tensor, partner: Tensor) -> Tensor:
    """Cosines [B, K1, K2, K2] of the angles at the anchors between their partners."""
    vectors = full_precision(vectors)
    examples = torch.arange(len(vectors), device=vectors.device)
    origin = vectors[examples[:, None], anchor]
    return _cosines(directions(vectors[examples[:, None, None], partner], origin[:, :, None]))


def _cosines(units: Tensor) -> Tensor:
    """The cosine of each pair of unit vectors [..., K, H]: [..., K, K]."""
    with torch.autocast(units.device.type, enabled=False):
        return units @ units.transpose(-1, -2)


def _attention(vectors: Tensor, mask: Tensor, heads: int) -> Tensor:
    """softmax over j of x_i.x_j / sqrt(H / heads), summed over heads: [B, U, U], 0 at units that do not exist."""
    by_head = full_precision(_by_head(vectors, heads))
    missing = ~mask[:, None, None, :]
    total = by_head.new_zeros(mask.shape[0], mask.shape[1], mask.shape[1])
    with torch.autocast(by_head.device.type, enabled=False):
        for part in torch.split(by_head, max(1, MAX_PAIRS // total.numel()), dim=1):
            scores = part @ part.transpose(-1, -2) * part.shape[-1] ** -0.5
            total += scores.masked_fill(missing, torch.finfo(scores.dtype).min).softmax(-1).sum(1)
    return total.masked_fill(~(mask[:, :, None] & mask[:, None, :]), 0)


def _by_head(vectors: Tensor, heads: int) -> Tensor:
    """[B, U, H] -> [B, heads, U, H / heads]."""
    return full_precision(vectors).reshape(*vectors.shape[:2], heads, -1).transpose(1, 2)
