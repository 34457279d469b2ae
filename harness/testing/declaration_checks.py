"""Checks of what a method declares: its stages, what they read, and the form of its terms."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from harness.api.method import Needs
from harness.api.model_outputs import LAYERED, Layered, ModelOutputs
from harness.plugin_host.discovery import describe
from harness.testing.method_cases import BEGINNING, LATER, Case, CheckFailed, NotApplicable, Subject

DRAWS = 4
"""How often a method that draws what it reads may draw, at each place of a stage."""


def stages(subject: Subject) -> None:
    """They have names of their own, and are the same at every call of every instance."""
    for case in subject.cases:
        one, other = case.bound(), case.bound()
        first = list(subject.stages(one))
        names = [stage.name for stage in first]
        if len(set(names)) < len(names):
            raise CheckFailed(f"stages need names of their own, they are named {', '.join(names)}")
        one.modules(one.student, one.teachers)
        for again in (one, other):
            if list(subject.stages(again)) != first:
                raise CheckFailed(
                    "stages() gave other stages when it was called again: they depend on more than they may"
                )


class Undeclared(KeyError):
    """A tensor that the stage's needs do not name."""


def needs(subject: Subject) -> None:
    """What is read is declared, and what is declared is read: at some step, by some draw."""
    for case in subject.cases:
        unread = _declared(case.stage.needs)
        for at in (BEGINNING, *LATER):
            for draws in range(DRAWS):
                if draws == 0 or unread:
                    unread -= _read(replace(case, at=at), draws)
        if unread:
            raise CheckFailed(f"{case}: {', '.join(sorted(unread))}: declared and never read")


def _declared(needs: Needs) -> set[str]:
    models = {"student": needs.student} | {f"teacher {i}": names for i, names in enumerate(needs.teachers, start=1)}
    return {f"{name} of {who}" for who, names in models.items() for name in names}


def _read(case: Case, draws: int) -> set[str]:
    read: set[str] = set()
    try:
        case.compute(draws=draws, show=lambda who, tensors: _Watched(tensors, f"of {who}", read))
    except Undeclared as error:
        raise CheckFailed(f"{case}: {error.args[0]} is read, and not declared") from error
    except Exception as error:  # of this the check `terms` tells
        raise NotApplicable(f"{case}: no terms") from error
    return read


class _Watched:
    """Stands for a model's `ModelOutputs`, and notes which are read."""

    def __init__(self, tensors: ModelOutputs, who: str, read: set[str]) -> None:
        self._tensors, self._who, self._read = tensors, who, read

    def __getattr__(self, name: str) -> Any:
        if name in LAYERED:
            return _WatchedLayers(getattr(self._tensors, name), self._who, self._read)
        try:
            found = getattr(self._tensors, name)
        except KeyError as error:
            raise Undeclared(f"{name} {self._who}") from error
        self._read.add(f"{name} {self._who}")
        return found


class _WatchedLayers(Mapping[int, Any]):
    def __init__(self, layers: Layered, who: str, read: set[str]) -> None:
        self._layers, self._who, self._read = layers, who, read

    def __getitem__(self, layer: int) -> Any:
        name = f"{self._layers.name}[{layer}] {self._who}"
        if layer not in self._layers:
            raise Undeclared(name)
        self._read.add(name)
        return self._layers[layer]

    def __iter__(self) -> Iterator[int]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)


def terms(subject: Subject) -> None:
    """There is at least one; all are finite scalars, under names of their own."""
    for case in subject.cases:
        for at in (BEGINNING, *LATER):
            try:
                values = replace(case, at=at).values()
            except KeyError as error:
                if "not declared" in str(error):
                    raise NotApplicable(f"{case}: it reads what it does not declare") from error
                raise CheckFailed(f"{case}: {describe(error)}") from error
            for name, value in values.items():
                if not math.isfinite(value):
                    raise CheckFailed(f"{case}: {name} is {value}")
