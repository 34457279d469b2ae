"""The base class of data that is stored as JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """An immutable pydantic model. Unknown keys are an error.

    Numbers that are not finite, such as an undefined metric, are written as strings ("NaN"), so that the file is valid
    JSON.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")
