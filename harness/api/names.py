"""What a name may be that becomes part of a path, a key or a table: of suites, methods, tasks, stages, files."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints, TypeAdapter, ValidationError

NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"

Name = Annotated[str, StringConstraints(pattern=NAME, max_length=80)]
"""A name that becomes part of a path or of a table: letters, digits, ``. _ + -``, and never a separator."""

_NAMES = TypeAdapter(Name)

NAME_RULE = "letters, digits, '.', '_', '+', '-', a letter or digit first"
"""What a `Name` is, for messages."""


def is_name(value: object) -> bool:
    """Whether it is a `Name`."""
    try:
        _NAMES.validate_python(value, strict=True)
    except ValidationError:
        return False
    return True
