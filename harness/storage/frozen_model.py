"""The base class of data that is stored as JSON."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

LARGEST = 10**15
"""Upper bound of counts and seconds: sums of larger numbers overflow or lose digits."""

Count = Annotated[int, Field(ge=0, le=LARGEST)]
Seconds = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
PathName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._=+,-]*$", max_length=200)]
"""A key or fingerprint, which is part of a file's name."""


class FrozenModel(BaseModel):
    """An immutable pydantic model. Unknown keys are an error.

    Numbers that are not finite, such as an undefined metric, are written as strings ("NaN"), so that the file is valid
    JSON.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")
