"""Finds and reads the projections of attention modules that ignore transformers' attention interface."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import cast

from torch import Tensor, nn

SEPARATE = (("query", "key", "value"), ("query_proj", "key_proj", "value_proj"), ("q", "k", "v"))
"""Names of the three projections."""

FUSED = "in_proj"
"""Name of one projection to queries, keys and values, whose rows are ordered by head (DeBERTa). Biases are separate."""

OUTPUTS = ("queries", "keys", "values")

SplitHeads = Callable[[Tensor], Tensor]
"""Turns the output of a projection into vectors by head, [B, A, N, d]."""


@dataclass(frozen=True)
class Projections:
    """The projections of one attention module.

    Attributes:
        inputs: the linear layers that project hidden states, each with how to get queries, keys or values from its
            output. A fused layer gives all three.
        output: the linear layer whose input is the attention output of all heads, [B, N, A * d].
    """

    inputs: tuple[tuple[nn.Module, Mapping[str, SplitHeads]], ...]
    output: nn.Module


def find(layer: nn.Module) -> Projections | None:
    """The projections of the only attention module in `layer`; None if there is no such module, or several."""
    found = [(parent, module) for parent, module in _with_parents(layer) if _heads(module) and _inputs(module)]
    if len(found) != 1:
        return None
    parent, attention = found[0]
    output = getattr(attention, "o", None) or getattr(getattr(parent, "output", None), "dense", None)
    return Projections(_inputs(attention), output) if isinstance(output, nn.Module) else None


def _with_parents(layer: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    for parent in layer.modules():
        for child in parent.children():
            yield parent, child


def _heads(attention: nn.Module) -> int:
    """The number of heads; 0 if the module has none."""
    heads = getattr(attention, "num_attention_heads", None) or getattr(attention, "num_heads", 0)
    return heads if isinstance(heads, int) else 0


def _inputs(attention: nn.Module) -> tuple[tuple[nn.Module, Mapping[str, SplitHeads]], ...]:
    """`Projections.inputs`; empty if the module has no projections with known names."""
    heads = _heads(attention)
    if isinstance(fused := getattr(attention, FUSED, None), nn.Linear) and hasattr(attention, "q_bias"):
        biases = (cast(Tensor, attention.q_bias), None, cast(Tensor, attention.v_bias))
        parts = enumerate(zip(OUTPUTS, biases, strict=True))
        return ((fused, {name: partial(_part, heads, index, bias) for index, (name, bias) in parts}),)
    for names in SEPARATE:
        modules = [module for name in names if isinstance(module := getattr(attention, name, None), nn.Linear)]
        if len(modules) == len(OUTPUTS):
            split = _split_transposed if hasattr(attention, "query_global") else _split
            pairs = zip(modules, OUTPUTS, strict=True)
            return tuple((module, {name: partial(split, heads)}) for module, name in pairs)
    return ()


def _split(heads: int, tensor: Tensor) -> Tensor:
    """[B, N, A * d] to [B, A, N, d]."""
    return tensor.reshape(*tensor.shape[:-1], heads, -1).transpose(1, 2)


def _split_transposed(heads: int, tensor: Tensor) -> Tensor:
    """[N, B, A * d] to [B, A, N, d], for Longformer. A copy, because Longformer scales its queries in place."""
    return _split(heads, tensor.transpose(0, 1)).clone()


def _part(heads: int, index: int, bias: Tensor | None, tensor: Tensor) -> Tensor:
    """One of three parts of each head of [B, N, A * 3 * d], plus its bias [A * d], as [B, A, N, d]."""
    vectors = _split(heads, tensor).chunk(3, dim=-1)[index]
    return vectors if bias is None else vectors + _split(heads, bias[None, None])
