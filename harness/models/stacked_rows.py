"""Rows of several models in one tensor, [R * B, ...]: split, joined, and in the layout that one model alone would have.

Kernels on a CPU round differently for another order of the axes in memory, and for data that is not aligned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

ALIGNMENT = 64
"""Bytes to which torch aligns the tensors that it allocates on a CPU."""


def split_rows(tensor: Tensor, count: int) -> tuple[Tensor, ...]:
    """The rows of each of `count` models, as views [B, ...]."""
    return tensor.view(count, len(tensor) // count, *tensor.shape[1:]).unbind(0)


def separated_rows(tensor: Tensor, count: int) -> tuple[Tensor, ...]:
    """The rows of each of `count` models, aligned."""
    parts: tuple[Tensor, ...] = _SeparatedRows.apply(tensor, count)  # type: ignore[no-untyped-call]
    return parts


def joined_rows(parts: Sequence[Tensor]) -> Tensor:
    """The rows of all models, [R * B, ...]."""
    joined: Tensor = _JoinedRows.apply(*parts)  # type: ignore[no-untyped-call]
    return joined


def joined_gradients(parts: Sequence[Tensor | None]) -> Tensor | None:
    """The gradients of the rows of all models, with zeros for models without; None if none has one.

    The order of the axes in memory is that of the parts.
    """
    first = next((part for part in parts if part is not None), None)
    if first is None:
        return None
    strides = first.stride()
    order = sorted(range(first.ndim), key=lambda axis: -strides[axis])
    filled = [torch.zeros_like(first) if part is None else part for part in parts]
    stacked = torch.stack([part.permute(order) for part in filled])
    return stacked.permute(0, *(1 + order.index(axis) for axis in range(first.ndim))).flatten(0, 1)


def aligned(tensor: Tensor) -> Tensor:
    """The tensor; on a CPU a copy with the same layout if it is not aligned."""
    return tensor.clone() if tensor.device.type == "cpu" and tensor.data_ptr() % ALIGNMENT else tensor


def stacked_copy(tensors: Sequence[Tensor]) -> Tensor:
    """A copy of the tensors, [R, ...], in which each is contiguous and, on a CPU, aligned."""
    first = tensors[0]
    if first.device.type != "cpu":
        return torch.stack(list(tensors))
    elements = ALIGNMENT // first.element_size()
    memory = first.new_empty(len(tensors), -(-first.numel() // elements) * elements)
    stacked = memory[:, : first.numel()].view(len(tensors), *first.shape)
    for part, tensor in zip(stacked, tensors, strict=True):
        part.copy_(tensor)
    return stacked


class _SeparatedRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, count: int) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return tuple(map(aligned, split_rows(tensor, count)))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None]:
        return joined_gradients(gradients), None


class _JoinedRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        ctx.count = len(parts)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        return tuple(map(aligned, split_rows(gradient, ctx.count)))
