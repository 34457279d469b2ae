"""What a method returns before the first step, checked: its stages, modules and notes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic_core import from_json, to_json
from torch import nn

from harness.api.method import Method, Stage


def stages_of(method: Method) -> Sequence[Stage]:
    """The stages of a bound method. Raises `TypeError` if they are no list of at least one `Stage`."""
    found: object = method.stages()
    if not isinstance(found, Iterable):
        raise TypeError(f"stages() returned a {type(found).__name__}; expected a list of Stage")
    stages = list(found)
    if not stages:
        raise TypeError("stages() returned no stages; a method has at least one")
    if others := [type(stage).__name__ for stage in stages if not isinstance(stage, Stage)]:
        raise TypeError(f"stages() returned a {others[0]} among its stages; expected a list of Stage")
    return stages


def modules_of(method: Method) -> nn.ModuleDict:
    """The modules of a bound method. Raises `TypeError` if they are no `nn.ModuleDict`."""
    modules: object = method.modules(method.student, method.teachers)
    if not isinstance(modules, nn.ModuleDict):
        raise TypeError(f"modules() returned a {type(modules).__name__}; expected an nn.ModuleDict")
    return modules


def notes_of(method: Method) -> dict[str, Any]:
    """The notes of a bound method as the record stores them: a record that cannot be written would cost the training.

    Raises:
        TypeError: they are no mapping of strings to plain values.
    """
    notes: object = method.notes()
    if not isinstance(notes, Mapping):
        raise TypeError(f"notes() returned a {type(notes).__name__}; expected a mapping of names to plain values")
    return {_checked_name(name): _plain(name, value) for name, value in notes.items()}


def _checked_name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"notes() has the name {name!r}; expected a string")
    return name


def _plain(name: str, value: object) -> Any:
    try:
        return from_json(to_json(value))
    except ValueError as error:
        found = type(value).__name__
        raise TypeError(f"notes()[{name!r}] is of type {found}; expected plain values ({error})") from error
