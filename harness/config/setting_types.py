"""Types of values that several sections of a suite file have, with their bounds."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, StringConstraints
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

LABEL = r"^[A-Za-z0-9][A-Za-z0-9._+=,-]*$"
DEVICE = r"^(cpu|mps|cuda(:[0-9]+)?)$"
MAX_LABEL_LENGTH = 120

Label = Annotated[str, StringConstraints(pattern=LABEL, max_length=MAX_LABEL_LENGTH)]
"""Name of a row on the board: a `Name` that may also contain ``option=value,...``."""

Device = Annotated[str, StringConstraints(pattern=DEVICE)]

MOST_LAYERS, LARGEST_SIZE, LARGEST_NUMBER = 1000, 10**6, 10**9
"""Upper bounds of settings: larger values cannot be run, and some overflow."""

Positive = Annotated[int, Field(gt=0, le=LARGEST_NUMBER)]
Layers = Annotated[int, Field(gt=0, le=MOST_LAYERS)]
Size = Annotated[int, Field(gt=0, le=LARGEST_SIZE)]
Tokens = Annotated[int, Field(ge=8, le=LARGEST_SIZE)]
Epochs = Annotated[float, Field(gt=0, le=LARGEST_SIZE)]
Gigabytes = Annotated[float, Field(gt=0, le=LARGEST_NUMBER)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Rate = Annotated[float, Field(gt=0, le=1)]
WarmupRatio = Annotated[float, Field(ge=0, lt=1)]
WeightDecay = Annotated[float, Field(ge=0, le=LARGEST_SIZE)]
Threads = Positive | Literal["all"]

T = TypeVar("T")


def _require_value(value: Any) -> Any:
    if value is None:
        raise ValueError("found null: give a value, or remove the key")
    return value


class _WithoutNull:
    """Leaves null out of the JSON Schema of an optional field."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        json_schema = handler(schema)
        (value,) = [option for option in json_schema.pop("anyOf") if option != {"type": "null"}]
        return {**json_schema, **value}


Override = Annotated[T | None, BeforeValidator(_require_value), _WithoutNull()]
"""A key that overrides another setting if it is given. Then it has a value: null in a suite file is an error."""
