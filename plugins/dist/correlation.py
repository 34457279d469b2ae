"""Pearson's correlation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.api.lazy_torch import torch

if TYPE_CHECKING:
    from torch import Tensor


EPSILON = 1e-8
"""Added to the product of the norms, as in the authors' code."""


def correlation(x: Tensor, y: Tensor, among: Tensor | None = None) -> Tensor:
    """Pearson's correlation over the last axis: x, y [..., C] to [...].

    Entries that are constant, up to rounding, have the correlation 0 and no gradient.

    Args:
        among: bool, of a shape that broadcasts to x: the entries to compare; None: all.
    """
    x, y = _centred(x, among), _centred(y, among)
    norms: Tensor = torch.linalg.vector_norm(x, dim=-1) * torch.linalg.vector_norm(y, dim=-1)
    return (x * y).sum(-1) / (norms + EPSILON)


def _centred(x: Tensor, among: Tensor | None) -> Tensor:
    """The differences from the mean; 0 where all are as small as rounding, since their gradient is that of a quotient
    of rounding errors, of up to 1 / `EPSILON`."""
    if among is None:
        centred = x - x.mean(-1, keepdim=True)
    else:
        x = x.masked_fill(~among, 0)
        count = among.sum(-1, keepdim=True).clamp(min=1)
        centred = (x - x.sum(-1, keepdim=True) / count).masked_fill(~among, 0)
    size, whole = (torch.linalg.vector_norm(tensor.detach(), dim=-1, keepdim=True) for tensor in (centred, x))
    return centred.masked_fill(size <= torch.finfo(x.dtype).eps * whole, 0)
