"""What a model hands over to a method: its shape before training, its tensors during it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class ModelShape:
    """The numbers of an encoder that methods reason about. `name` is its name in the suite. `opaque`: nothing inside it
    can be seen, since it ignores transformers' attention interface."""

    name: str
    layers: int
    hidden: int
    heads: int
    ffn: int
    model_type: str = ""
    opaque: bool = False

    def __str__(self) -> str:
        return f"{self.name} ({self.layers} layers, hidden {self.hidden}, {self.heads} heads, FFN {self.ffn})"


LAYERED = ("hidden", "scores", "queries", "keys", "values", "context")
"""Tensors that exist once for each layer."""


class Layered(dict[int, Tensor]):
    """Tensors by layer, counted from 1; a layer that was not asked for is an error that says so."""

    def __init__(self, name: str, tensors: Mapping[int, Tensor] | None = None) -> None:
        super().__init__(tensors or {})
        self.name = name

    def __missing__(self, layer: int) -> Tensor:
        raise KeyError(f"{self.name}[{layer}] was not declared in the stage's Needs")


@dataclass
class ModelOutputs:
    """What one model computed on one batch: only what the stage's `Needs` name.

    Shapes, for B examples of N tokens, A heads, H features, d = H / A:

    - `logits`: classification [B, C]; regression [B, 1]; QA [B, 2, N], start and end, already set to the dtype's
      lowest value wherever no answer may lie, so that a softmax over the last axis is right as it stands;
    - `pooled` [B, H]: what the head's last linear layer reads (not for QA);
    - `embeddings` [B, N, H]: the embedding output, after its LayerNorm (and projection, for ELECTRA): the first
      layer's input;
    - `hidden[i]` [B, N, H]: output of layer i; `context[i]` [B, N, H]: attention output, heads concatenated, before
      the output projection;
    - `scores[i]` [B, A, N, N]: Q K^T times the model's scaling (1 / sqrt(d)), before mask and softmax: columns of
      padding hold what the padding's keys gave;
    - `queries[i]`, `keys[i]`, `values[i]` [B, A, N, d].
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
        """The tensors named, and no others: what a method may see of a forward that served several."""

        def some(layered: Layered) -> Layered:
            return Layered(layered.name, {i: t for i, t in layered.items() if f"{layered.name}[{i}]" in names})

        return ModelOutputs(
            self._logits if "logits" in names else None,
            self._pooled if "pooled" in names else None,
            self._embeddings if "embeddings" in names else None,
            *(some(getattr(self, name)) for name in LAYERED),
        )

    def part(self, rows: slice) -> ModelOutputs:
        """Of some of the examples."""
        return _each([self], lambda tensors: tensors[0][rows])

    @staticmethod
    def joined(parts: Sequence[ModelOutputs]) -> ModelOutputs:
        """The same tensors of several parts of a batch, as those of the whole."""
        return parts[0] if len(parts) == 1 else _each(parts, torch.cat)

    def tensors(self) -> list[Tensor]:
        """All tensors there are."""
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


def _each(parts: Sequence[ModelOutputs], make: Callable[[list[Tensor]], Tensor]) -> ModelOutputs:
    """One `ModelOutputs` of several that hold the same ones, tensor by tensor."""

    def single(tensors: Sequence[Tensor | None]) -> Tensor | None:
        there = [tensor for tensor in tensors if tensor is not None]
        return make(there) if there else None

    def layered(name: str) -> Layered:
        each = [getattr(part, name) for part in parts]
        return Layered(name, {layer: make([own[layer] for own in each]) for layer in each[0]})

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
