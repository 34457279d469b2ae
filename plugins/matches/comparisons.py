"""The losses of matches. Each is a mean over the real tokens of an example, then over examples, if not stated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from harness.api.chunked_attention import mean_over_queries, mean_over_tokens
from harness.api.lazy_torch import F, torch
from harness.api.losses import directions, full_precision, unit_vectors

if TYPE_CHECKING:
    from torch import Tensor

EPSILON = 1e-7
"""Added to probabilities before their logarithm, and to squared distances before their root."""

Attention = tuple["Tensor", "Tensor"]
"""Queries and keys of a layer, [B, A, N, d] each."""


def of_vectors(loss: str, student: Tensor, teacher: Tensor) -> Tensor:
    """A loss between vectors [..., H] along their features: [...]."""
    if loss == "mse":
        return (student - teacher).square().mean(-1)
    if loss == "l2":
        return (student - teacher).square().sum(-1)
    if loss in ("l1", "smooth_l1"):
        return (F.l1_loss if loss == "l1" else F.smooth_l1_loss)(student, teacher, reduction="none").mean(-1)
    if loss == "cosine":
        return 1 - F.cosine_similarity(student, teacher, dim=-1)
    return divergence(loss, F.log_softmax(student, dim=-1), F.log_softmax(teacher, dim=-1))


def divergence(loss: str, log_s: Tensor, log_t: Tensor) -> Tensor:
    """KL(teacher || student), or their cross-entropy (``ce``), of log-probabilities [..., C]: [...]."""
    if loss == "kl":
        return F.kl_div(log_s, log_t, reduction="none", log_target=True).sum(-1)
    return -(log_t.exp() * log_s).sum(-1)


def over_tokens(by_token: Tensor, mask: Tensor, reduction: str) -> Tensor:
    """The mean of `by_token` [B, N] over real tokens (`mask`, bool [B, N]): a scalar."""
    if reduction == "examples":
        return mean_over_tokens(by_token, mask)
    return by_token.masked_fill(~mask, 0).sum() / mask.sum()  # by_token[mask] would wait for the device


def flow(student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Mean squared error of X^T Y / n of each example, [H, H] for its n real tokens: a scalar.

    X and Y are [B, N, H]; a single one is compared with itself (Yim et al. 2017, section 3.1).
    """
    return (_flow(student, mask) - _flow(teacher, mask)).square().mean()


def _flow(vectors: Sequence[Tensor], mask: Tensor) -> Tensor:
    first, last = vectors[0], vectors[-1]
    real = mask.unsqueeze(-1)
    return first.masked_fill(~real, 0).transpose(1, 2) @ last.masked_fill(~real, 0) / mask.sum(-1)[:, None, None]


def selectivity(student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor, reduction: str) -> Tensor:
    """Mean squared error of X Y^T / H over pairs of real tokens: a scalar.

    X and Y are [B, N, H], of any width H; a single one is compared with itself.
    """

    def by_query(queries: Sequence[Tensor], keys: Sequence[Tensor], mask: Tensor) -> Tensor:
        own, theirs = (q @ k.transpose(-1, -2) / q.shape[-1] for q, k in list(zip(queries, keys, strict=True))[:2])
        return _over_keys((own - theirs).square(), mask).squeeze(1)

    heads = [(vectors[0].unsqueeze(1), vectors[-1].unsqueeze(1)) for vectors in (student, teacher)]
    return _over_pairs(by_query, heads, mask, reduction, power=2)


def of_attention(
    loss: str, student: Attention, teacher: Attention, mask: Tensor, *, probabilities: bool, heads: str, reduction: str
) -> Tensor:
    """A loss between attention maps: a scalar.

    ``mse`` is the mean over real query-key pairs and heads; the others compare the probabilities of the keys of each
    real query.

    Args:
        loss: ``mse``, ``kl``, ``ce`` or ``cosine``.
        student, teacher: queries and keys.
        mask: bool [B, N], True at real tokens.
        probabilities: compare probabilities, not the scores before the softmax.
        heads: ``each``, or the ``mean`` or ``sum`` over the heads, which may then differ in number.
        reduction: see `over_tokens`.
    """

    def by_query(queries: Sequence[Tensor], keys: Sequence[Tensor], mask: Tensor) -> Tensor:
        own, theirs = (_map(q, k, mask, probabilities, heads) for q, k in list(zip(queries, keys, strict=True))[:2])
        if loss == "mse":
            return _over_keys((own - theirs).square(), mask).mean(1)
        if loss == "cosine":
            own, theirs = (_as_probabilities(each, mask, probabilities) for each in (own, theirs))
            return (1 - F.cosine_similarity(own, theirs, dim=-1)).mean(1)
        log_s, log_t = (_as_log_probabilities(each, mask, probabilities) for each in (own, theirs))
        return divergence(loss, log_s, log_t).mean(1)

    return _over_pairs(by_query, [student, teacher], mask, reduction, power=2 if loss == "mse" else 1)


def _map(queries: Tensor, keys: Tensor, mask: Tensor, probabilities: bool, heads: str) -> Tensor:
    """Scores or probabilities [b, A, n, N], with A = 1 for the mean or sum over heads."""
    scores = full_precision(queries) @ full_precision(keys).transpose(-1, -2) / queries.shape[-1] ** 0.5
    found = _softmax(scores, mask).exp() if probabilities else scores
    if heads == "each":
        return found
    return found.mean(1, keepdim=True) if heads == "mean" else found.sum(1, keepdim=True)


def _softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Log-probabilities over real keys."""
    return F.log_softmax(scores.masked_fill(~mask[:, None, None, :], torch.finfo(scores.dtype).min), dim=-1)


def _as_probabilities(found: Tensor, mask: Tensor, probabilities: bool) -> Tensor:
    return found if probabilities else _softmax(found, mask).exp()


def _as_log_probabilities(found: Tensor, mask: Tensor, probabilities: bool) -> Tensor:
    if not probabilities:
        return _softmax(found, mask)
    return found.clamp(min=torch.finfo(found.dtype).tiny).log()


def _over_keys(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of values [b, A, n, N] over real keys: [b, A, n]."""
    return values.masked_fill(~mask[:, None, None, :], 0).sum(-1) / mask.sum(-1)[:, None, None]


def _over_pairs(
    by_query: Callable[[Sequence[Tensor], Sequence[Tensor], Tensor], Tensor],
    models: Sequence[Attention],
    mask: Tensor,
    reduction: str,
    *,
    power: int,
) -> Tensor:
    """The mean of `by_query` over queries and examples; with the reduction ``tokens`` an example with n real tokens
    counts n^power times."""
    queries, keys = zip(*models, strict=True)
    if reduction == "examples":
        return mean_over_queries(by_query, queries, keys, mask)
    counts = mask.sum(-1).to(queries[0].dtype) ** power
    scale = (counts / counts.mean())[:, None, None, None].expand(-1, 1, mask.shape[1], 1)

    def scaled(queries: Sequence[Tensor], keys: Sequence[Tensor], mask: Tensor) -> Tensor:
        return by_query(queries, keys, mask) * queries[-1][:, 0, :, 0]

    return mean_over_queries(scaled, [*queries, scale], [*keys, scale], mask)


def of_batch(loss: str, student: Tensor, teacher: Tensor) -> Tensor:
    """A loss between the relations of the examples of a batch: vectors [B, H], of any width: a scalar."""
    compare = {"rkd_distance": _rkd_distance, "rkd_angle": _rkd_angle, "similarity": _similarity, "pkt": _pkt}
    return compare[loss](student, teacher)


def _rkd_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Smooth L1 loss of the distances of all pairs, each divided by the mean distance (Park et al. 2019, eq. 6)."""
    return F.smooth_l1_loss(_distances(student), _distances(teacher))


def _distances(vectors: Tensor) -> Tensor:
    squared = (vectors.unsqueeze(0) - vectors.unsqueeze(1)).square().sum(-1)
    others = ~torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    distances = squared.clamp(min=EPSILON**2).sqrt() * others
    return distances / (distances.sum() / max(1, int(len(vectors) * (len(vectors) - 1)))).clamp(min=EPSILON)


def _rkd_angle(student: Tensor, teacher: Tensor) -> Tensor:
    """Smooth L1 loss of the cosines of the angles of all triples (Park et al. 2019, equation 9)."""
    return F.smooth_l1_loss(_angles(student), _angles(teacher))


def _angles(vectors: Tensor) -> Tensor:
    """[i, j, k]: cosine of the angle at example i between the directions to j and k."""
    units = directions(vectors.unsqueeze(0), vectors.unsqueeze(1))
    return units @ units.transpose(1, 2)


def _similarity(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared difference of the rows of Q Q^T, scaled to length 1, over B^2 (Tung and Mori 2019, equation 4)."""
    own, theirs = (unit_vectors(vectors @ vectors.T) for vectors in (student, teacher))
    return (own - theirs).square().mean()


def _pkt(student: Tensor, teacher: Tensor) -> Tensor:
    """KL of the conditional probabilities of neighbours, from cosine similarities (Passalis and Tefas 2018), a mean
    over examples."""
    own, theirs = (_neighbours(vectors) for vectors in (student, teacher))
    return (theirs * ((theirs + EPSILON).log() - (own + EPSILON).log())).sum(-1).mean()


def _neighbours(vectors: Tensor) -> Tensor:
    units = unit_vectors(vectors)
    kernel = (units @ units.T + 1) / 2
    return kernel / kernel.sum(-1, keepdim=True)


def as_vectors(tensor: Tensor, mask: Tensor, tokens: str) -> Tensor:
    """Vectors in at least float32: [B, N, H] for all tokens; [B, H] for the first, for the mean of the real ones, or if
    the tensor has one vector for each example."""
    tensor = full_precision(tensor)
    if tensor.dim() == 4:  # heads are concatenated
        tensor = tensor.transpose(1, 2).flatten(2)
    if tensor.dim() == 2 or tokens == "all":
        return tensor
    if tokens == "cls":
        return tensor[:, 0]
    return tensor.masked_fill(~mask.unsqueeze(-1), 0).sum(1) / mask.sum(-1, keepdim=True)
