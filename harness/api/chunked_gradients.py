"""The autograd function of `harness.api.chunked_attention`, apart from it because its base class imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from harness.api.chunked_attention import Compare

Chunks = Sequence[tuple[slice, slice]]
"""Examples and queries of each chunk."""


class ChunkedMean(torch.autograd.Function):
    """`mean_over_queries` in chunks. `forward` computes the gradients of its inputs, `backward` only scales them."""

    @staticmethod
    def forward(
        ctx: Any, compare: Compare, mask: Tensor, chunks: Chunks, requires_grad: Sequence[bool], *tensors: Tensor
    ) -> Tensor:
        count = len(tensors) // 2
        # Gradients are sums over many chunks, so they are accumulated in float32 even for half-precision inputs.
        gradients = [
            torch.zeros_like(tensor, dtype=torch.promote_types(tensor.dtype, torch.float32)) if needed else None
            for tensor, needed in zip(tensors, requires_grad, strict=True)
        ]
        scales = _loss_scales(mask, torch.promote_types(tensors[0].dtype, torch.float32))
        losses = []
        for examples, rows in chunks:
            indices = [(examples, slice(None), rows)] * count + [(examples,)] * count
            parts = [
                tensor[index].detach().requires_grad_(needed)
                for tensor, index, needed in zip(tensors, indices, requires_grad, strict=True)
            ]
            with torch.enable_grad():
                by_query = compare(parts[:count], parts[count:], mask[examples])
                by_example = by_query.masked_fill(~mask[examples, rows], 0).sum(-1) / mask[examples].sum(-1)
            losses.append(by_example.detach().sum() / len(mask))
            inputs = [part for part in parts if part.requires_grad]
            scale = scales[examples]
            chunk_gradients = iter(torch.autograd.grad(by_example, inputs, scale / len(mask)) if inputs else ())
            for gradient, index in zip(gradients, indices, strict=True):
                if gradient is not None:
                    gradient[index] += next(chunk_gradients).to(gradient.dtype) / scale[:, None, None, None]
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
            *((gradient * scale).to(dtype) if gradient is not None else None for gradient, dtype in gradients),
        )


def _loss_scales(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """The loss scale of each example, [B]: the power of two above the factor by which a mean divides a query's loss.

    Without it, gradients of a mean over many queries underflow in float16; the scale of `torch.amp.GradScaler` comes
    only with `backward`. With it, a query counts 1 to 2 times at any batch size and length, so nothing overflows. A
    power of two does not change the bits of float32.
    """
    divisor = (mask.sum(-1) * len(mask)).to(dtype)
    return torch.exp2(torch.log2(divisor).floor() + 1)  # torch.frexp does not exist on MPS
