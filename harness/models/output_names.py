"""Parses and checks the names of model outputs, as `Needs` has them."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.api.errors import Problem, nearest
from harness.api.model_outputs import LAYERED

if TYPE_CHECKING:
    from harness.api.batch import TaskKind

WHOLE = ("embeddings", "pooled", "logits")

_EMBEDDINGS, _ATTENTION, _OUTPUT, _HEAD, _LOGITS = range(5)
_LAST = 1 << 30


@dataclass(frozen=True)
class Need:
    """One tensor: its name and, where it belongs to a layer, the layer, counted from 1."""

    name: str
    layer: int | None = None

    @property
    def depth(self) -> tuple[int, int]:
        """How deep in the forward pass the tensor arises; deeper ones compare greater."""
        if self.layer is not None:
            return self.layer, _OUTPUT if self.name == "hidden" else _ATTENTION
        return {"embeddings": (1, _EMBEDDINGS), "pooled": (_LAST, _HEAD), "logits": (_LAST, _LOGITS)}[self.name]

    def __str__(self) -> str:
        return self.name if self.layer is None else f"{self.name}[{self.layer}]"


def parse(text: str) -> Need | None:
    """The need that `text` names, or None if there is no such name. Layers are not bounded here."""
    match = re.fullmatch(r"([a-z]+)(?:\[([0-9]+)\])?", text)
    if match is None:
        return None
    name, layer = match.groups()
    if name in LAYERED and layer is not None:
        return Need(name, int(layer))
    return Need(name) if name in WHOLE and layer is None else None


def check(needs: Collection[str], *, layers: int, kind: TaskKind, who: str, opaque: bool = False) -> list[Problem]:
    """What `needs` ask of a model of so many layers that it cannot give; `who` is what messages call the model.
    `opaque`: it gives nothing but what its head reads and says."""
    inside = sorted(need for need in needs if need not in ("logits", "pooled"))
    if opaque and inside:
        return [
            Problem(
                f"{', '.join(inside)} cannot be taken from {who}, which ignores transformers' attention interface; take"
                " an encoder that uses it (bert, roberta, distilbert, electra, albert) or a method that needs logits"
                " alone"
            )
        ]
    return [problem for need in sorted(needs) if (problem := _problem(need, layers, kind, who)) is not None]


def _problem(text: str, layers: int, kind: TaskKind, who: str) -> Problem | None:
    need = parse(text)
    if need is None:
        bare = text.split("[")[0]
        if bare in LAYERED:
            return Problem(f"{text!r} names no layer; a method asks for {bare}[1] to {bare}[{layers}] of {who}")
        return Problem(f"there is no tensor {text!r}; {nearest(bare, [*WHOLE, *LAYERED])}")
    if need.layer is not None and not 1 <= need.layer <= layers:
        return Problem(f"{need} is asked for, but {who} has {layers} layers, counted from 1 to {layers}")
    if need.name == "pooled" and kind in ("qa", "text"):
        does = "answers questions" if kind == "qa" else "predicts tokens"
        return Problem(f"pooled is asked for, but {who} {does}: its head reads every token, not one vector")
    return None
