"""Loss functions for methods, all with the same reduction.

Losses are the mean over the real tokens (queries, or query-key pairs), heads and features of an example, then over the
examples, so that they do not depend on the padding, order or split of a batch. Arguments are fields of `ModelOutputs`
and the `Batch`. Half-precision inputs are reduced in float32; float64 stays float64. Losses on attention maps compute
large batches in chunks: see `harness.api.chunked_attention`.

Losses on logits depend on the kind of task. Classification: over the classes. Multilabel: each class is a choice of
its own between yes and no, with the probability sigmoid(z) of yes; the mean over the classes. Regression: the squared
difference, without a temperature. Token classification: over the classes, the mean over the labelled tokens of an
example, which are the first tokens of its words; other tokens are ignored, since the teacher's logits at them are not
trained. QA: over the positions allowed for an answer, the mean of start and end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

from harness.api.batch import IGNORED, NOT_MASKED, Batch
from harness.api.chunked_attention import mean_over_queries, mean_over_tokens
from harness.api.lazy_torch import F, nn, torch

if TYPE_CHECKING:
    from torch import Tensor

Vectors: TypeAlias = "Tensor | tuple[Tensor, Tensor]"
"""Vectors X for the relation of X with itself, or (X, Y) for the relation of queries X with keys Y."""

ROUNDING = 64
"""Vectors that differ by at most this many times the rounding error of their lengths count as equal. What a model
computes for the same text, padded to different lengths, differs by about 10 times that error."""

NO_LOGIT = -1e30
"""A teacher's logits below are no logits, but the lowest value of float32 or float64, possibly scaled."""

Attention: TypeAlias = "tuple[Tensor, Tensor]"
"""Queries and keys of a layer, [B, A, N, d] each; scores are Q K^T / sqrt(d), in the precision of Q and K."""


def task_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy with the labels, for regression the squared error: a scalar.

    With class weights w (`Batch.class_weights`), every cross-entropy counts w[label] times; of a multilabel task, that
    of class c counts w[c] times. The mean of these factors over the training examples is 1, so the loss is not divided
    by the weights of the batch, and does not depend on how a batch is split.
    """
    return task_loss_by_example(logits, batch).mean()


def task_loss_by_example(logits: Tensor, batch: Batch) -> Tensor:
    """`task_loss` of each example [B]."""
    losses = task_losses(logits, batch)
    if batch.class_weights is not None:
        losses = losses * _class_weights(batch, batch.class_weights)
    return mean_by_example(losses, batch)


def _class_weights(batch: Batch, weights: Tensor) -> Tensor:
    """The weights [C] of the classes as factors of losses [B, D]: of each class, or of the class of each label."""
    if batch.kind == "multilabel":
        return weights
    of_labels = weights[batch.labels.clamp(min=0)]  # the clamp: an ignored label is no index
    return of_labels if of_labels.ndim == 2 else of_labels.unsqueeze(-1)


def task_losses(logits: Tensor, batch: Batch) -> Tensor:
    """Task loss without class weights, of each example and distribution [B, D], see `mean_over_distributions`.

    D is 2 for QA (start and end), the number of classes for multilabel, of tokens for token classification, else 1.
    """
    logits = full_precision(logits)
    if batch.kind == "regression":
        return ((logits[:, 0] - batch.labels) ** 2).unsqueeze(-1)
    if batch.kind == "multilabel":
        return F.binary_cross_entropy_with_logits(logits, batch.labels.to(logits.dtype), reduction="none")
    log_p = F.log_softmax(logits, dim=-1)
    if batch.kind == "token_classification":  # the clamp: an ignored label is no index
        return -log_p.gather(-1, batch.labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    picked = log_p.gather(-1, batch.labels.unsqueeze(-1)).squeeze(-1)  # [B], or [B, 2] for QA
    return -picked.reshape(len(picked), -1)


def kl_loss(student: Tensor, teacher: Tensor, batch: Batch, temperature: float = 1.0) -> Tensor:
    """KL(softmax(teacher / t) || softmax(student / t)), without a factor t^2: a scalar."""
    if batch.kind == "regression":
        return _squared_difference(student, teacher)
    log_s, log_t = _log_distributions(student, teacher, batch, temperature)
    return mean_over_distributions(F.kl_div(log_s, log_t, reduction="none", log_target=True).sum(-1), batch)


def soft_cross_entropy(student: Tensor, teacher: Tensor, batch: Batch, temperature: float = 1.0) -> Tensor:
    """-sum softmax(teacher / t) log softmax(student / t): a scalar."""
    return mean_over_distributions(soft_cross_entropies(student, teacher, batch, temperature), batch)


def soft_cross_entropies(student: Tensor, teacher: Tensor, batch: Batch, temperature: float = 1.0) -> Tensor:
    """`soft_cross_entropy` of each example and distribution [B, D], with D as in `task_losses`."""
    if batch.kind == "regression":
        return (full_precision(student) - full_precision(teacher)) ** 2
    log_s, log_t = _log_distributions(student, teacher, batch, temperature)
    cross_entropy = -(log_t.exp() * log_s).sum(-1)  # [B], or [B, D] for several distributions
    return cross_entropy.reshape(len(cross_entropy), -1)


def mean_over_distributions(losses: Tensor, batch: Batch) -> Tensor:
    """The mean of losses [B, D] over the distributions of an example, then over examples: a scalar.

    Of token classification, whose D are the tokens, over labelled tokens; an example without any counts as 0.
    """
    return mean_by_example(losses, batch).mean() if batch.kind == "token_classification" else losses.mean()


def mean_by_example(losses: Tensor, batch: Batch) -> Tensor:
    """The mean of losses [B, D] over the distributions of each example [B], see `mean_over_distributions`."""
    if batch.kind != "token_classification":
        return losses.mean(-1)
    labelled = batch.labels != IGNORED
    return losses.masked_fill(~labelled, 0).sum(-1) / labelled.sum(-1).clamp(min=1)


def soft_target_loss(student: Tensor, teacher: Tensor, batch: Batch, temperature: float) -> Tensor:
    """t^2 KL(softmax(teacher / t) || softmax(student / t)): a scalar. The factor t^2 keeps gradients independent of t
    (Hinton et al. 2015, section 2). Regression uses neither temperature nor factor."""
    kl = kl_loss(student, teacher, batch, temperature)
    return kl if batch.kind == "regression" else temperature**2 * kl


def squared_logit_distances(
    student: Tensor, teacher: Tensor, batch: Batch, reduction: Literal["sum", "mean"] = "sum"
) -> Tensor:
    """||student - teacher||^2 of the logits of each example and distribution [B, D], with D as in `task_losses`: the
    sum, or the mean, over classes, for QA over the positions of `answers_of_both`."""
    difference = full_precision(student) - full_precision(teacher)
    if batch.kind in ("regression", "multilabel"):
        return difference**2
    compared = torch.ones_like(difference, dtype=torch.bool)
    if batch.answer_mask is not None:  # masked before squaring: the square of the lowest value is infinite
        compared = answers_of_both(teacher, batch)
        difference = difference.masked_fill(~compared, 0)
    squared = (difference**2).sum(-1)
    squared = squared / compared.sum(-1).clamp(min=1) if reduction == "mean" else squared
    return squared.reshape(len(squared), -1)


def answers_of_both(teacher: Tensor, batch: Batch) -> Tensor:
    """QA: the positions where both models have logits, bool [B, 2, N]: those allowed for an answer, without those to
    which a teacher with another tokenizer assigns no token. `teacher`: its logits, also scaled ones."""
    assert batch.answer_mask is not None
    return batch.answer_mask.bool()[:, None] & (teacher > NO_LOGIT)


def token_mse(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of [B, N, H] over real tokens (`mask`, bool [B, N]) and features: a scalar."""
    by_token = ((full_precision(student) - full_precision(teacher)) ** 2).mean(-1)
    return mean_over_tokens(by_token, mask)


def token_kl(student: Tensor, teacher: Tensor, mask: Tensor, temperature: float = 1.0) -> Tensor:
    """t^2 KL(softmax(teacher / t) || softmax(student / t)) of [B, N, V], mean over real tokens (`mask`, bool [B, N]),
    then over examples: a scalar."""
    log_s, log_t = _log_probabilities(student, teacher, temperature)
    by_token = F.kl_div(log_s, log_t, reduction="none", log_target=True).sum(-1)
    return temperature**2 * mean_over_tokens(by_token, mask)


def token_cosine(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Cosine distance of [B, N, H], mean over real tokens (`mask`, bool [B, N]): a scalar."""
    return mean_over_tokens(1 - F.cosine_similarity(full_precision(student), full_precision(teacher), dim=-1), mask)


def masked_lm_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy of [B, N, V] at masked tokens; an example without masked tokens counts as 0: a scalar."""
    masked = batch.labels != NOT_MASKED
    by_token = F.cross_entropy(
        full_precision(logits).transpose(1, 2), batch.labels, reduction="none", ignore_index=NOT_MASKED
    )  # [B, N], 0 at tokens that are not masked
    return (by_token.sum(-1) / masked.sum(-1).clamp(min=1)).mean()


def score_mse(student: Attention, teachers: Sequence[Attention], mask: Tensor) -> Tensor:
    """Mean squared error between the student's attention scores and the mean of the teacher layers' scores, over real
    query-key pairs (`mask`, bool [B, N]) and heads: a scalar."""

    def by_query(student: Tensor, teachers: Sequence[Tensor], mask: Tensor) -> Tensor:
        difference = ((full_precision(student) - full_precision(_mean(teachers))) ** 2).mean(1)
        return difference.masked_fill(~mask[:, None, :], 0).sum(-1) / mask.sum(-1)[:, None]

    return _mean_of_scores(by_query, student, teachers, mask)


def attention_kl(student: Attention, teachers: Sequence[Attention], mask: Tensor) -> Tensor:
    """KL(teacher || student) of attention probabilities, the teacher's being the mean over its layers; sum over real
    keys (`mask`, bool [B, N]), mean over heads and real queries: a scalar."""

    def by_query(student: Tensor, teachers: Sequence[Tensor], mask: Tensor) -> Tensor:
        teacher = _mean_attention(teachers, mask)
        return (torch.xlogy(teacher, teacher) - teacher * _log_attention(student, mask)).sum(-1).mean(1)

    return _mean_of_scores(by_query, student, teachers, mask)


def attention_cosine(student: Attention, teachers: Sequence[Attention], mask: Tensor) -> Tensor:
    """Cosine distance between attention probabilities over real keys (`mask`, bool [B, N]), the teacher's being the
    mean over its layers; mean over heads and real queries: a scalar."""

    def by_query(student: Tensor, teachers: Sequence[Tensor], mask: Tensor) -> Tensor:
        probabilities = _log_attention(student, mask).exp()
        return (1 - F.cosine_similarity(probabilities, _mean_attention(teachers, mask), dim=-1)).mean(1)

    return _mean_of_scores(by_query, student, teachers, mask)


def relation_kl(student: Vectors, teacher: Vectors, mask: Tensor, *, heads: int | None = None) -> Tensor:
    """KL(teacher || student) of self-attention relations: a scalar (Wang et al. 2020, 2021).

    A relation is softmax(X Y^T / sqrt(d)) over real keys for each head: N x N for any width. Sum over keys, mean over
    heads and real queries.

    Args:
        student: X, or (X, Y); [B, N, H] or [B, A, N, d].
        teacher: likewise; the width may differ.
        mask: bool [B, N], True at real tokens.
        heads: number of relation heads: heads are concatenated, then split into this many parts of equal width. It must
            divide both widths. None: the heads of the vectors, one for [B, N, H].
    """

    def by_query(queries: Sequence[Tensor], keys: Sequence[Tensor], mask: Tensor) -> Tensor:
        log_s, log_t = (_log_relation(q, k, mask) for q, k in zip(queries, keys, strict=True))
        return F.kl_div(log_s, log_t, reduction="none", log_target=True).sum(-1).mean(1)

    queries, keys = zip(*(_by_head(vectors, heads) for vectors in (student, teacher)), strict=True)
    return mean_over_queries(by_query, queries, keys, mask)


def unit_vectors(vectors: Tensor) -> Tensor:
    """`vectors` [..., H], scaled to length 1, in at least float32."""
    return F.normalize(full_precision(vectors), dim=-1)


def directions(vectors: Tensor, origin: Tensor) -> Tensor:
    """Unit vectors from `origin` to `vectors`, both [..., H], in at least float32; products of them are cosines.

    Vectors that are equal up to `ROUNDING` have direction 0 and no gradient, which would grow with 1 / distance.
    """
    vectors, origin = full_precision(vectors), full_precision(origin)
    differences = vectors - origin
    with torch.no_grad():
        rounding = torch.finfo(differences.dtype).eps ** 2 * (vectors.square().sum(-1) + origin.square().sum(-1))
        equal = differences.square().sum(-1) <= ROUNDING**2 * rounding
    return unit_vectors(differences.masked_fill(equal.unsqueeze(-1), 0))


def projection(width: int, target: int, *, bias: bool = False) -> nn.Linear:
    """A trainable linear map from `width` to `target`, initialized to the identity if they are equal."""
    linear = nn.Linear(width, target, bias=bias)
    if width == target:
        nn.init.eye_(linear.weight)
        if bias:
            nn.init.zeros_(linear.bias)
    return linear


def full_precision(tensor: Tensor) -> Tensor:
    """The tensor, converted to float32 if it is in half precision."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _squared_difference(student: Tensor, teacher: Tensor) -> Tensor:
    return ((full_precision(student) - full_precision(teacher)) ** 2).mean()


def _log_distributions(student: Tensor, teacher: Tensor, batch: Batch, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probabilities over the last axis; of a multilabel task [B, C, 2], yes and no of each class."""
    if batch.kind == "multilabel":
        student, teacher = (torch.stack([z, torch.zeros_like(z)], dim=-1) for z in (student, teacher))
    return _log_probabilities(student, teacher, temperature)


def _log_probabilities(student: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    # QA logits have the dtype's lowest value at positions that are not allowed for an answer. Division by a temperature
    # below 1 would make it -inf, and 0 * log 0 NaN; the clamp keeps both finite.
    student, teacher = (full_precision(z) / temperature for z in (student, teacher))
    return (
        F.log_softmax(student.clamp(min=torch.finfo(student.dtype).min), dim=-1),
        F.log_softmax(teacher.clamp(min=torch.finfo(teacher.dtype).min), dim=-1),
    )


def _log_attention(scores: Tensor, mask: Tensor) -> Tensor:
    scores = full_precision(scores)
    return F.log_softmax(scores.masked_fill(~mask[:, None, None, :], torch.finfo(scores.dtype).min), dim=-1)


def _mean_attention(scores: Sequence[Tensor], mask: Tensor) -> Tensor:
    return _mean([_log_attention(layer, mask).exp() for layer in scores])


def _mean(maps: Sequence[Tensor]) -> Tensor:
    """The mean of the maps; a single map is returned without a copy."""
    return maps[0] if len(maps) == 1 else torch.stack([*maps]).mean(0)


def _mean_of_scores(
    by_query: Callable[[Tensor, Sequence[Tensor], Tensor], Tensor],
    student: Attention,
    teachers: Sequence[Attention],
    mask: Tensor,
) -> Tensor:
    """The mean of `by_query` (student scores, teacher layers' scores, mask) over queries and examples: a scalar."""

    def compare(queries: Sequence[Tensor], keys: Sequence[Tensor], mask: Tensor) -> Tensor:
        pairs = zip(queries, keys, strict=True)
        student, *teachers = (torch.matmul(q, k.transpose(-1, -2)) * q.shape[-1] ** -0.5 for q, k in pairs)
        return by_query(student, teachers, mask)

    queries, keys = zip(student, *teachers, strict=True)
    return mean_over_queries(compare, queries, keys, mask)


def _log_relation(queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
    # Products of whole vectors are large; rounding them under autocast would change the softmax.
    with torch.autocast(queries.device.type, enabled=False):
        scores = full_precision(queries) @ full_precision(keys).transpose(-1, -2) / math.sqrt(queries.shape[-1])
    return _log_attention(scores, mask)


def _by_head(vectors: Vectors, heads: int | None) -> Attention:
    queries, keys = vectors if isinstance(vectors, tuple) else (vectors, vectors)
    queries_by_head = _split(queries, heads)
    return queries_by_head, queries_by_head if keys is queries else _split(keys, heads)


def _split(vectors: Tensor, heads: int | None) -> Tensor:
    """Reshape [B, N, H] or [B, A, N, d] to [B, heads, N, H / heads]."""
    if vectors.dim() == 4:
        if heads is None:
            return vectors
        vectors = vectors.transpose(1, 2).flatten(2)
    return vectors.reshape(*vectors.shape[:2], heads or 1, -1).transpose(1, 2)
