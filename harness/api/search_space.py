"""Search spaces of methods: annotations on the fields of a method's Config, which tuning reads.

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
"""Types of values that `Choices` accepts, since keys and records hold them as JSON."""


@dataclass(frozen=True)
class Search:
    """A numeric range from `low` to `high`, both inclusive; `log`: sampled on a logarithmic scale.

    For an integer option only integers are tried.
    """

    low: float
    high: float
    log: bool = False

    @property
    def plain(self) -> dict[str, Any]:
        """The range as plain values, for keys and records."""
        return {"low": self.low, "high": self.high, "log": self.log}

    def __contains__(self, value: object) -> bool:
        return _is_number(value) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{', log' if self.log else ''}"


@dataclass(frozen=True)
class Choices:
    """A categorical choice between plain values, which have no order."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        object.__setattr__(self, "values", values)

    @property
    def plain(self) -> list[Any]:
        """The values as a list, for keys and records."""
        return list(self.values)

    def __contains__(self, value: object) -> bool:
        return any(type(value) is type(choice) and value == choice for choice in self.values)

    def __str__(self) -> str:
        return ", ".join(_format_value(value) for value in self.values)


Dimension = Search | Choices


def space(config: type[MethodConfig]) -> dict[str, Dimension]:
    """The search space of a Config class without `faults`: dimensions by option, in the order of the fields."""
    return {name: _typed(config, name, dimensions[0]) for name, dimensions in _annotated(config).items()}


def faults(config: type[MethodConfig]) -> Iterator[str]:
    """Yields messages about invalid search annotations of a Config class whose options all have defaults."""
    for name, dimensions in _annotated(config).items():
        title = f"option {name!r}: {_describe(dimensions[0])}"
        if len(dimensions) > 1:
            yield f"option {name!r} has {len(dimensions)} search spaces: {' and '.join(map(_describe, dimensions))}"
        elif name in config.keyed_separately:
            yield f"{title}: an option in `keyed_separately` is decided before the stages on a task and cannot be tuned"
        else:
            yield from (f"{title}: {fault}" for fault in _dimension_faults(config, name, dimensions[0]))


def _dimension_faults(config: type[MethodConfig], name: str, dimension: Dimension) -> Iterator[str]:
    if isinstance(dimension, Search):
        bounds = (dimension.low, dimension.high)
        if not all(_is_number(bound) and math.isfinite(bound) for bound in bounds) or not bounds[0] < bounds[1]:
            yield "low and high must be finite numbers with low < high"
            return
        if dimension.log and dimension.low <= 0:
            yield f"log=True needs low above 0, found {dimension.low:g}"
            return
    elif not all(isinstance(value, PLAIN) for value in dimension.values):
        yield "choices must be numbers, strings, True, False or None"
        return
    elif len({(type(value), value) for value in dimension.values}) < max(2, len(dimension.values)):
        yield "needs two or more choices without duplicates"
        return
    invalid = list(_invalid_values(config, name, dimension))
    yield from invalid[:1]
    default = getattr(config(), name)
    if not invalid and default not in dimension:
        yield f"does not contain the default {default!r}, which the first trial uses"


def _invalid_values(config: type[MethodConfig], name: str, dimension: Dimension) -> Iterator[str]:
    """Messages about values of the search space that the option refuses or converts."""
    for value in (dimension.low, dimension.high) if isinstance(dimension, Search) else dimension.values:
        try:
            accepted = getattr(config.model_validate({name: value}), name)
        except ValidationError as error:
            yield f"the option does not accept {value!r}: {error.errors()[0]['msg'].removeprefix('Input ')}"
            continue
        if accepted != value or (isinstance(dimension, Search) and not _is_number(accepted)):
            yield f"the option converts {value!r} to {accepted!r}"


def _annotated(config: type[MethodConfig]) -> Mapping[str, list[Dimension]]:
    """The search annotations of each option that has any."""
    dimensions = {
        name: [item for item in field.metadata if isinstance(item, (Search, Choices))]
        for name, field in config.model_fields.items()
    }
    return {name: items for name, items in dimensions.items() if items}


def _typed(config: type[MethodConfig], name: str, dimension: Dimension) -> Dimension:
    """The dimension with its values converted to the type of the option, such as int or float."""
    if isinstance(dimension, Choices):
        return Choices(*(getattr(config.model_validate({name: value}), name) for value in dimension.values))
    low, high = (getattr(config.model_validate({name: bound}), name) for bound in (dimension.low, dimension.high))
    return replace(dimension, low=low, high=high)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _format_value(value: Any) -> str:
    if _is_number(value):
        return f"{value:g}"
    return "none" if value is None else str(value).lower()


def _describe(dimension: Dimension) -> str:
    return f"{type(dimension).__name__}({dimension})"
