"""Base class of the pydantic models of a suite file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Base class: immutable, no unknown keys, no type coercion, no NaN or infinity.

    Every field is part of the keys of the results that it applies to, unless `not_in_key` names it with a reason. So a
    new field cannot be left out of keys by accident.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    not_in_key: ClassVar[Mapping[str, str]] = {}
    """Field -> why it is not part of a key."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if unknown := sorted(cls.not_in_key.keys() - cls.model_fields.keys()):
            raise TypeError(f"{cls.__name__}.not_in_key names fields that do not exist: {', '.join(unknown)}")

    def key_fields(self) -> dict[str, Any]:
        """The fields that are part of a key, as JSON values; nested settings without any are left out."""
        fields = {name: getattr(self, name) for name in type(self).model_fields if name not in self.not_in_key}
        dumped = self.model_dump(mode="json", include=set(fields))
        nested = {name: value.key_fields() for name, value in fields.items() if isinstance(value, Strict)}
        return {name: value for name, value in {**dumped, **nested}.items() if name not in nested or nested[name]}
