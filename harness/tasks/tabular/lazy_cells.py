"""Cells of typed columns, which become Python objects when they are used: for some values Python has none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

from harness.api.errors import Problem, UserError


def python_values(convert: Callable[[], list[Any]], where: str) -> list[Any]:
    """Return the result of `convert`, which makes Python objects of the values of a column.

    Args:
        convert: the conversion, such as the `to_pylist` of a pyarrow array.
        where: the column and its type, as messages name them.

    Raises:
        UserError: Python has no object for a value, such as a time after the year 9999 or one in an unknown time zone,
            or a text is not valid UTF-8.
    """
    import pyarrow as pa

    try:
        return convert()
    except (ValueError, OverflowError, LookupError, pa.ArrowException) as error:
        message = f"its values cannot be read ({error}); convert the column to another type, or remove it"
        raise UserError(Problem(message, where)) from error


class LazyCells(Sequence[Any]):
    """The cells of a column; all are converted by `python_values` as soon as one is used."""

    def __init__(self, rows: int, convert: Callable[[], list[Any]], where: str) -> None:
        self._rows = rows
        self._convert = convert
        self._where = where

    @cached_property
    def _values(self) -> list[Any]:
        return python_values(self._convert, self._where)

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, index: Any) -> Any:
        return self._values[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)
