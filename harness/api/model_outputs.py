"""The shape of a model, and the outputs of a forward pass that methods receive."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from harness.api.errors import nearest
from harness.api.lazy_torch import torch
from harness.api.wording import counted

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ModelShape:
    """The sizes of an encoder.

    Attributes:
        name: its name in the suite.
        heads: self-attention heads.
        missing: names of outputs that cannot be captured from encoders of this family.
        qkv_width: width of queries, keys and values, heads concatenated; default: `hidden`.
        context_width: width of the attention output before its projection; default: `hidden`.
    """

    name: str
    layers: int
    hidden: int
    heads: int
    ffn: int
    model_type: str = ""
    missing: frozenset[str] = frozenset()
    qkv_width: int = 0
    context_width: int = 0

    def __post_init__(self) -> None:
        for width in ("qkv_width", "context_width"):
            object.__setattr__(self, width, getattr(self, width) or self.hidden)

    def __str__(self) -> str:
        layers, heads = counted(self.layers, "layer"), counted(self.heads, "head")
        return f"{self.name} ({layers}, hidden {self.hidden}, {heads}, FFN {self.ffn})"


WHOLE = ("embeddings", "pooled", "logits")
"""Outputs that a model has once."""

LAYERED = ("hidden", "scores", "queries", "keys", "values", "context")
"""Outputs that exist for each layer."""


@cache
def name_fault(text: object) -> str | None:
    """Return why `text` names no output of any model; None if it names one: ``logits``, ``hidden[2]``."""
    found = re.fullmatch(r"([a-z]+)(?:\[([0-9]+)\])?", text) if isinstance(text, str) else None
    bare = str(text).split("[")[0]
    if bare in LAYERED and not (found and found[2]):
        return f"{text!r} names no layer; expected {bare}[1], {bare}[2], ..., counted from 1"
    if found is None or bare not in (*WHOLE, *LAYERED) or (found[2] and bare in WHOLE):
        return f"unknown output {text!r}; {nearest(bare, [*WHOLE, *LAYERED])}"
    return None


class Layered(dict[int, "Tensor"]):
    """Tensors by layer, counted from 1, in the order of the layers.

    A method that iterates over them adds gradients in this order, so it must not depend on what other runs read: the
    last bits of its result would. Raises `KeyError` with a remedy for a layer that was not declared.
    """

    def __init__(self, name: str, tensors: Mapping[int, Tensor] | None = None) -> None:
        super().__init__(sorted((tensors or {}).items(), key=lambda item: item[0]))
        self.name = name

    def __missing__(self, layer: int) -> Tensor:
        raise KeyError(f"{self.name}[{layer}] was not declared in the stage's Needs")


@dataclass
class ModelOutputs:
    """Outputs of one model on one batch: those that the stage's `Needs` declare, and no others.

    Shapes, for B examples of N tokens, A heads, H features, d = H / A (ConvBERT, MobileBERT: see `ModelShape`):

    - `logits`: classification and multilabel [B, C]; regression [B, 1]; token classification [B, N, C]; QA [B, 2, N],
      start and end, with the dtype's lowest value at positions that are not allowed for an answer, so that a softmax
      over the last axis needs no mask;
    - `pooled` [B, H]: the input of the head's last linear layer (not for token classification and QA);
    - `embeddings` [B, N, H]: the embedding output after LayerNorm (and projection, for ELECTRA), which is the input of
      the first layer;
    - `hidden[i]` [B, N, H]: the output of layer i, of the last layer after the encoder's final norm if it has one: as
      transformers' ``hidden_states``;
    - `context[i]` [B, N, H]: the attention output, heads concatenated, before the output projection;
    - `scores[i]` [B, A, N, N]: Q K^T times the model's scaling (1 / sqrt(d)), before mask and softmax, so columns of
      padding are not masked;
    - `queries[i]`, `keys[i]`, `values[i]` [B, A, N, d]: as they enter the dot product, so after rotary embeddings. In
      families that compute attention themselves: the outputs of the projections.

    Raises:
        KeyError: an output was read that the stage's `Needs` do not declare.
    """

    _logits: Tensor | None = None
    _pooled: Tensor | None = None
    _embeddings: Tensor | None = None
    hidden: Layered = field(default_factory=lambda: Layered("hidden"))
    scores: Layered = field(default_factory=lambda: Layered("scores"))
    queries: Layered = field(default_factory=lambda: Layered("queries"))
    keys: Layered = field(default_factory=lambda: Layered("keys"))
    values: Layered = field(default_factory=lambda: Layered("values"))
    context: Layered = field(default_factory=lambda: Layered("context"))

    def only(self, names: Collection[str]) -> ModelOutputs:
        """The outputs in `names`: the part of a shared forward pass that one method may read."""

        def select(layered: Layered) -> Layered:
            return Layered(layered.name, {i: t for i, t in layered.items() if f"{layered.name}[{i}]" in names})

        return ModelOutputs(
            self._logits if "logits" in names else None,
            self._pooled if "pooled" in names else None,
            self._embeddings if "embeddings" in names else None,
            *(select(getattr(self, name)) for name in LAYERED),
        )

    def part(self, rows: slice) -> ModelOutputs:
        """The outputs for the examples `rows`, as views."""
        return self.mapped(lambda tensor: tensor[rows])

    def mapped(self, function: Callable[[Tensor], Tensor]) -> ModelOutputs:
        """The results of `function` for all tensors, under the same names."""
        return _combine([self], lambda tensors: function(tensors[0]))

    @staticmethod
    def joined(parts: Sequence[ModelOutputs]) -> ModelOutputs:
        """Concatenate the outputs for several parts of a batch along the examples."""
        return parts[0] if len(parts) == 1 else _combine(parts, torch.cat)

    def tensors(self) -> list[Tensor]:
        """All tensors of these outputs."""
        single = [self._logits, self._pooled, self._embeddings]
        return [t for t in single if t is not None] + [t for name in LAYERED for t in getattr(self, name).values()]

    @property
    def logits(self) -> Tensor:
        return _declared("logits", self._logits)

    @property
    def pooled(self) -> Tensor:
        return _declared("pooled", self._pooled)

    @property
    def embeddings(self) -> Tensor:
        return _declared("embeddings", self._embeddings)


def _combine(parts: Sequence[ModelOutputs], function: Callable[[list[Tensor]], Tensor]) -> ModelOutputs:
    """Combine several `ModelOutputs` with equal names: `function` is called with the tensors of each name."""

    def single(tensors: Sequence[Tensor | None]) -> Tensor | None:
        available = [tensor for tensor in tensors if tensor is not None]
        return function(available) if available else None

    def layered(name: str) -> Layered:
        by_part = [getattr(part, name) for part in parts]
        return Layered(name, {layer: function([layers[layer] for layers in by_part]) for layer in by_part[0]})

    return ModelOutputs(
        single([part._logits for part in parts]),
        single([part._pooled for part in parts]),
        single([part._embeddings for part in parts]),
        *(layered(name) for name in LAYERED),
    )


def _declared(name: str, tensor: Tensor | None) -> Tensor:
    if tensor is None:
        raise KeyError(f"{name} was not declared in the stage's Needs")
    return tensor
