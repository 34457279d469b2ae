"""What of a method's options is worth tuning: marks on the fields of its Config, read by whoever tunes.

::

    temperature: Annotated[float, Search(1.0, 20.0, log=True)] = Field(4.0, gt=0, description="softens both sides")
    views: Annotated[Literal["teacher", "dropout"], Choices("teacher", "dropout")] = Field("teacher", description="...")
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeGuard

from pydantic import ValidationError

if TYPE_CHECKING:  # torch
    from harness.api.method import MethodConfig

PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Search:
    """An option that is a number, from `low` to `high`, both among them; `log`: evenly by its logarithm. Of an option
    that is a whole number, whole numbers alone are tried."""

    low: float
    high: float
    log: bool = False

    @property
    def plain(self) -> dict[str, Any]:
        """For keys and records."""
        return {"low": self.low, "high": self.high, "log": self.log}

    def __contains__(self, value: object) -> bool:
        return _is_number(value) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{', log' if self.log else ''}"


@dataclass(frozen=True)
class Choices:
    """An option that takes one of some plain values, of which none is nearer to one than to another."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        object.__setattr__(self, "values", values)

    @property
    def plain(self) -> list[Any]:
        """For keys and records."""
        return list(self.values)

    def __contains__(self, value: object) -> bool:
        return any(type(value) is type(each) and value == each for each in self.values)

    def __str__(self) -> str:
        return ", ".join(_word(value) for value in self.values)


Dimension = Search | Choices


def space(config: type[MethodConfig]) -> dict[str, Dimension]:
    """The options that are marked, in the order of the fields; the class has no `faults`."""
    return {name: _typed(config, name, marks[0]) for name, marks in _marked(config).items()}


def faults(config: type[MethodConfig]) -> Iterator[str]:
    """What is wrong with the marks of a class that can be made without options."""
    for name, marks in _marked(config).items():
        title = f"option {name!r}: {_shown(marks[0])}"
        if len(marks) > 1:
            yield f"option {name!r} is marked {len(marks)} times: {' and '.join(map(_shown, marks))}"
        elif name in config.keyed_separately:
            yield f"{title}: what is `keyed_separately` is decided before the stages on a task, and cannot be tuned"
        else:
            yield from (f"{title}: {fault}" for fault in _faults(config, name, marks[0]))


def _faults(config: type[MethodConfig], name: str, mark: Dimension) -> Iterator[str]:
    if isinstance(mark, Search):
        ends = (mark.low, mark.high)
        if not all(_is_number(end) and math.isfinite(end) for end in ends) or not mark.low < mark.high:
            yield "the first number has to be less than the second"
            return
        if mark.log and mark.low <= 0:
            yield f"log needs numbers above 0, found {mark.low:g}"
            return
    elif not all(isinstance(value, PLAIN) for value in mark.values):
        yield "numbers, texts, True, False and None can be chosen from"
        return
    elif len({(type(value), value) for value in mark.values}) < max(2, len(mark.values)):
        yield "there have to be two or more, and no two the same"
        return
    refused = list(_refused(config, name, mark))
    yield from refused[:1]
    default = getattr(config(), name)
    if not refused and default not in mark:
        yield f"the default, {default!r}, is not among it, and the first trial takes the defaults"


def _refused(config: type[MethodConfig], name: str, mark: Dimension) -> Iterator[str]:
    """What the option itself does not take."""
    for value in (mark.low, mark.high) if isinstance(mark, Search) else mark.values:
        try:
            taken = getattr(config.model_validate({name: value}), name)
        except ValidationError as error:
            yield f"the option does not take {value!r}: {error.errors()[0]['msg'].removeprefix('Input ')}"
            continue
        if taken != value or (isinstance(mark, Search) and not _is_number(taken)):
            yield f"the option makes {taken!r} of {value!r}"


def _marked(config: type[MethodConfig]) -> Mapping[str, list[Dimension]]:
    found = {
        name: [each for each in field.metadata if isinstance(each, (Search, Choices))]
        for name, field in config.model_fields.items()
    }
    return {name: marks for name, marks in found.items() if marks}


def _typed(config: type[MethodConfig], name: str, mark: Dimension) -> Dimension:
    """The numbers as the option has them: whole, or not."""
    if isinstance(mark, Choices):
        return Choices(*(getattr(config.model_validate({name: value}), name) for value in mark.values))
    low, high = (getattr(config.model_validate({name: end}), name) for end in (mark.low, mark.high))
    return replace(mark, low=low, high=high)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _word(value: Any) -> str:
    if _is_number(value):
        return f"{value:g}"
    return "none" if value is None else str(value).lower()


def _shown(mark: Dimension) -> str:
    return f"{type(mark).__name__}({mark})"
