"""Losses on maps of all pairs of tokens, computed chunk by chunk: so no more than a chunk of maps is in memory at once.

A model's N x N maps grow with the batch, the heads and the square of the length; the queries and keys that they come
from do not. The gradient of a chunk is taken in the forward pass, as soon as its loss is there, so that nothing is
computed twice: what is kept for the backward pass is as large as the queries and keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

MAX_PAIRS = 32 * 48 * 128**2
"""Most pairs of tokens, over examples and heads, whose maps are made at once: 96 MiB for each float32 map.

It counts the shapes alone, so that a loss has the same bits whoever else is in memory.
"""

Compare = Callable[[Sequence[Tensor], Sequence[Tensor], Tensor], Tensor]
"""What a loss makes of some queries [b, A, n, d] and the keys [b, A, N, d] of the same examples, of each model, and the
mask of the keys [b, N]: the loss of each query [b, n], the mean over heads."""


def mean_over_queries(compare: Compare, queries: Sequence[Tensor], keys: Sequence[Tensor], mask: Tensor) -> Tensor:
    """The mean of `compare` over the real queries of each example, then over examples: a scalar.

    Args:
        compare: is given the queries and keys as they are, or chunks of them; what it makes of a query depends on that
            query and its example alone.
        queries: [B, A, N, d] each; heads and widths may differ.
        keys: likewise, as many; may be the very tensors that are among the queries.
        mask: bool [B, N], real tokens.
    """
    heads = max(tensor.shape[1] for tensor in queries)
    examples, tokens = mask.shape
    if examples * heads * tokens**2 <= MAX_PAIRS:
        return mean_over_tokens(compare(queries, keys, mask), mask)
    wanted = [tensor.requires_grad and torch.is_grad_enabled() for tensor in (*queries, *keys)]
    loss: Tensor = _InChunks.apply(compare, mask, heads, wanted, *queries, *keys)  # type: ignore[no-untyped-call]
    return loss


def mean_over_tokens(by_token: Tensor, mask: Tensor) -> Tensor:
    """The mean of [B, N] over the real tokens of each example, then over examples: a scalar."""
    return (by_token.masked_fill(~mask, 0).sum(-1) / mask.sum(-1)).mean()


class _InChunks(torch.autograd.Function):
    """`mean_over_queries` with the gradients of its inputs, which `backward` has only to scale."""

    @staticmethod
    def forward(
        ctx: Any, compare: Compare, mask: Tensor, heads: int, wanted: Sequence[bool], *tensors: Tensor
    ) -> Tensor:
        count = len(tensors) // 2
        # Sums of many small parts: in float32 even where the vectors are in half precision.
        gradients = [
            torch.zeros_like(tensor, dtype=torch.promote_types(tensor.dtype, torch.float32)) if asked else None
            for tensor, asked in zip(tensors, wanted, strict=True)
        ]
        losses = []
        for examples, rows in _chunks(len(mask), mask.shape[1], heads):
            places = [(examples, slice(None), rows)] * count + [(examples,)] * count
            parts = [
                tensor[place].detach().requires_grad_(asked)
                for tensor, place, asked in zip(tensors, places, wanted, strict=True)
            ]
            with torch.enable_grad():
                by_query = compare(parts[:count], parts[count:], mask[examples])
                by_example = by_query.masked_fill(~mask[examples, rows], 0).sum(-1) / mask[examples].sum(-1)
                loss = by_example.sum() / len(mask)
            losses.append(loss.detach())
            asked_for = [part for part in parts if part.requires_grad]
            found = iter(torch.autograd.grad(loss, asked_for)) if asked_for else iter(())
            for gradient, place in zip(gradients, places, strict=True):
                if gradient is not None:
                    gradient[place] += next(found)
        ctx.save_for_backward(*gradients)
        ctx.dtypes = [tensor.dtype for tensor in tensors]
        return torch.stack(losses).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        gradients = zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        return (
            None,
            None,
            None,
            None,
            *((each * scale).to(dtype) if each is not None else None for each, dtype in gradients),
        )


def _chunks(examples: int, tokens: int, heads: int) -> Iterator[tuple[slice, slice]]:
    """Some examples, whole; or of one after another, if a single one is too large, some queries."""
    several = max(1, MAX_PAIRS // (heads * tokens**2))
    rows = min(tokens, max(1, MAX_PAIRS // (heads * tokens)))
    for first in range(0, examples, several):
        for row in range(0, tokens, rows):
            yield slice(first, first + several), slice(row, row + rows)
