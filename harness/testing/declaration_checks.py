"""Checks of a method's declarations: its stages, the outputs that they need, and the form of its loss terms."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from harness.api.method import Needs
from harness.api.model_outputs import LAYERED, Layered, ModelOutputs
from harness.plugin_host.discovery import describe
from harness.testing.method_cases import FIRST_STEP, LATER_STEPS, Case, CheckFailed, CheckNotApplicable, Subject

DRAWS = 4
"""Random seeds tried at each step of a stage, for methods that choose at random which outputs they read."""


def stages(subject: Subject) -> None:
    """Stage names are unique, and `stages()` returns the same on every call and every instance."""
    for case in subject.cases:
        method, second_instance = case.bind(), case.bind()
        expected = list(subject.stages(method))
        names = [stage.name for stage in expected]
        if len(set(names)) < len(names):
            raise CheckFailed(f"duplicate stage name; the stages are named {', '.join(names)}")
        method.modules(method.student, method.teachers)
        for instance in (method, second_instance):
            if list(subject.stages(instance)) != expected:
                raise CheckFailed(
                    "stages() returned different stages on another call; it may depend on the options, the task, the"
                    " shapes and the seed only"
                )


class Undeclared(KeyError):
    """A method read an output that the stage's `Needs` do not declare."""


def needs(subject: Subject) -> None:
    """Every output that is read is declared, and every declared output is read at some step, for some random seed."""
    for case in subject.cases:
        unread = _declared(case.stage.needs)
        for progress in (FIRST_STEP, *LATER_STEPS):
            for draws in range(DRAWS):
                if draws == 0 or unread:
                    unread -= _read(replace(case, progress=progress, seed=draws), draws)
        if unread:
            raise CheckFailed(f"{case}: {', '.join(sorted(unread))}: declared and never read")


def _declared(needs: Needs) -> set[str]:
    models = {"student": needs.student} | {f"teacher {i}": names for i, names in enumerate(needs.teachers, start=1)}
    return {f"{name} of {model}" for model, names in models.items() for name in names}


def _read(case: Case, draws: int) -> set[str]:
    read: set[str] = set()
    try:
        case.evaluate(draws=draws, hook=lambda model, outputs: _RecordingOutputs(outputs, model, read))
    except Undeclared as error:
        raise CheckFailed(f"{case}: {error.args[0]} is read but not declared") from error
    except Exception as error:  # the check `terms` reports it
        raise CheckNotApplicable(f"{case}: no terms") from error
    return read


class _RecordingOutputs:
    """Wraps the `ModelOutputs` of one model and records in `read` which of them are read."""

    def __init__(self, outputs: ModelOutputs, model: str, read: set[str]) -> None:
        self._outputs, self._model, self._read = outputs, model, read

    def __getattr__(self, name: str) -> Any:
        if name in LAYERED:
            return _RecordingLayers(getattr(self._outputs, name), self._model, self._read)
        try:
            tensor = getattr(self._outputs, name)
        except KeyError as error:
            raise Undeclared(f"{name} of {self._model}") from error
        self._read.add(f"{name} of {self._model}")
        return tensor


class _RecordingLayers(Mapping[int, Any]):
    def __init__(self, layers: Layered, model: str, read: set[str]) -> None:
        self._layers, self._model, self._read = layers, model, read

    def __getitem__(self, layer: int) -> Any:
        name = f"{self._layers.name}[{layer}] of {self._model}"
        if layer not in self._layers:
            raise Undeclared(name)
        self._read.add(name)
        return self._layers[layer]

    def __iter__(self) -> Iterator[int]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)


def terms(subject: Subject) -> None:
    """`losses` returns at least one term; all are finite scalars with valid, unique names."""
    for case in subject.cases:
        for progress in (FIRST_STEP, *LATER_STEPS):
            try:
                values = replace(case, progress=progress).values()
            except KeyError as error:
                if "not declared" in str(error):
                    raise CheckNotApplicable(f"{case}: it reads undeclared outputs") from error
                raise CheckFailed(f"{case}: {describe(error)}") from error
            for name, value in values.items():
                if not math.isfinite(value):
                    raise CheckFailed(f"{case}: {name} is {value}")
