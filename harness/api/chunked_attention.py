"""Memory-efficient losses on attention maps, computed in chunks so that only one chunk of maps is in memory.

A model's N x N maps grow with the batch, the heads and the square of the length; queries and keys grow linearly with
the length. The forward pass computes the gradient of each chunk right after its loss, so that nothing is computed twice
and the backward pass needs no more memory than queries and keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from harness.api.lazy_torch import torch

if TYPE_CHECKING:
    from torch import Tensor

MAX_PAIRS = 32 * 48 * 128**2
"""The most pairs of tokens, over examples and heads, in one chunk of maps: 96 MiB for each float32 map.

It depends on shapes only, not on free memory, so that losses are bit-identical on every machine state.
"""

Compare = Callable[[Sequence["Tensor"], Sequence["Tensor"], "Tensor"], "Tensor"]
"""Computes the loss of each query [b, n], a mean over heads, from queries [b, A, n, d] and keys [b, A, N, d] of each
model and the mask of the keys [b, N]."""


def mean_over_queries(compare: Compare, queries: Sequence[Tensor], keys: Sequence[Tensor], mask: Tensor) -> Tensor:
    """The mean of `compare` over the real queries of each example, then over examples: a scalar.

    Args:
        compare: called with all queries and keys, or with chunks of them; the loss of a query may depend only on that
            query and its example.
        queries: the queries of each model, [B, A, N, d]; heads and widths may differ between models.
        keys: the keys of each model, likewise; they may be the same tensors as the queries.
        mask: bool [B, N], True at real tokens.
    """
    heads = max(tensor.shape[1] for tensor in queries)
    examples, tokens = mask.shape
    if examples * heads * tokens**2 <= MAX_PAIRS:
        return mean_over_tokens(compare(queries, keys, mask), mask)
    from harness.api.chunked_gradients import ChunkedMean

    requires_grad = [tensor.requires_grad and torch.is_grad_enabled() for tensor in (*queries, *keys)]
    chunks = list(_chunks(examples, tokens, heads))
    loss: Tensor = ChunkedMean.apply(compare, mask, chunks, requires_grad, *queries, *keys)  # type: ignore[no-untyped-call]
    return loss


def mean_over_tokens(by_token: Tensor, mask: Tensor) -> Tensor:
    """The mean of `by_token` [B, N] over the real tokens of each example, then over examples: a scalar."""
    return (by_token.masked_fill(~mask, 0).sum(-1) / mask.sum(-1)).mean()


def _chunks(examples: int, tokens: int, heads: int) -> Iterator[tuple[slice, slice]]:
    """Yields slices of examples and of queries: all queries of several examples, or some queries of a single one."""
    chunk_size = max(1, MAX_PAIRS // (heads * tokens**2))
    rows = min(tokens, max(1, MAX_PAIRS // (heads * tokens)))
    for first in range(0, examples, chunk_size):
        for row in range(0, tokens, rows):
            yield slice(first, first + chunk_size), slice(row, row + rows)
