"""The base class of what is stored as JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """Refuses unknown keys: a record that this version does not understand is an error, not a guess.

    A number that is not finite, such as a metric that is undefined, is written as a string ("NaN"), which any JSON
    reader takes and ours reads back.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")
