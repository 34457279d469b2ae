"""Parses the option `--delimiter`."""

from __future__ import annotations

from harness.api.errors import Problem, UserError


def delimiter(value: str | None) -> str | None:
    """One character; a tab can be typed as ``\\t``. Raises `UserError` for anything else."""
    character = "\t" if value == "\\t" else value
    if character is not None and (len(character) != 1 or character in '"\r\n'):
        raise UserError(Problem(f"{value!r} is not a character between cells, such as ';' or \\t", "--delimiter"))
    return character
