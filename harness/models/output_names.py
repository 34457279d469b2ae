"""Parses and checks names of model outputs, as in `Needs`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.api.errors import Problem
from harness.api.model_outputs import LAYERED, WHOLE, name_fault
from harness.api.wording import counted

if TYPE_CHECKING:
    from harness.api.batch import TaskKind

_EMBEDDINGS, _ATTENTION, _OUTPUT, _HEAD, _LOGITS = range(5)
_LAST = 1 << 30


@dataclass(frozen=True)
class Need:
    """The name of one output, with its layer, counted from 1, if it belongs to one."""

    name: str
    layer: int | None = None

    @property
    def depth(self) -> tuple[int, int]:
        """Where in the forward pass the output is computed; deeper ones compare greater."""
        if self.layer is not None:
            return self.layer, _OUTPUT if self.name == "hidden" else _ATTENTION
        return {"embeddings": (1, _EMBEDDINGS), "pooled": (_LAST, _HEAD), "logits": (_LAST, _LOGITS)}[self.name]

    def __str__(self) -> str:
        return self.name if self.layer is None else f"{self.name}[{self.layer}]"


def parse(text: str) -> Need | None:
    """The output that `text` names; None for an unknown name. The range of the layer is not checked."""
    if name_fault(text):
        return None
    name, _, layer = text.removesuffix("]").partition("[")
    return Need(name, int(layer) if layer else None)


def check(
    needs: Collection[str],
    *,
    layers: int,
    kind: TaskKind,
    who: str,
    family: str = "",
    missing: Collection[str] = (),
) -> list[Problem]:
    """Problems with the outputs `needs` of a model with so many layers.

    `who` names the model in messages; outputs with names in `missing` cannot be captured from encoders of its `family`.
    """
    impossible = sorted(text for text in needs if (need := parse(text)) is not None and need.name in missing)
    problems = [_missing(impossible, who, family, missing)] if impossible else []
    checked = sorted(set(needs) - set(impossible))
    return problems + [problem for need in checked if (problem := _problem(need, layers, kind, who)) is not None]


def _missing(needs: Collection[str], who: str, family: str, missing: Collection[str]) -> Problem:
    available = [name for name in (*WHOLE, *LAYERED) if name not in missing]
    return Problem(
        f"{', '.join(needs)} cannot be captured from {who}: a {family} encoder gives only {', '.join(available)}; use"
        " another encoder (docs/encoders.md), or a method or option that does not need them"
    )


def _problem(text: str, layers: int, kind: TaskKind, who: str) -> Problem | None:
    need = parse(text)
    if need is None:
        return Problem(str(name_fault(text)))
    if need.layer is not None and not 1 <= need.layer <= layers:
        return Problem(f"{need} is requested, but {who} has {counted(layers, 'layer')}, counted from 1 to {layers}")
    purpose = {"qa": "answers questions", "text": "predicts tokens", "token_classification": "labels tokens"}.get(kind)
    if need.name == "pooled" and purpose is not None:
        return Problem(f"pooled is requested, but {who} {purpose}: its head reads every token, so nothing is pooled")
    return None
