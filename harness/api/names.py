"""Valid names of suites, methods, tasks, stages and files, which become part of paths, keys and tables."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints, TypeAdapter, ValidationError

NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"

Name = Annotated[str, StringConstraints(pattern=NAME, max_length=80)]
"""A valid name: letters, digits, ``. _ + -``, at most 80 characters, no path separator."""

_NAMES = TypeAdapter(Name)

NAME_RULE = "letters, digits, '.', '_', '+', '-', a letter or digit first"
"""The rule for a `Name`, for error messages."""


def is_name(value: object) -> bool:
    """Whether `value` is a valid `Name`."""
    try:
        _NAMES.validate_python(value, strict=True)
    except ValidationError:
        return False
    return True
