"""A table of examples as read from one file, and problems with its cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.api.errors import Problem, UserError, nearest
from harness.tasks.column_faults import REMEDY

if TYPE_CHECKING:
    import pyarrow as pa

MAX_LISTED = 5
"""Maximum number of rows in a message."""


@dataclass(frozen=True)
class Table:
    """The rows of one file.

    Attributes:
        where: the file, as messages name it.
        columns: column -> its cells.
        lines: the line of the file at which each row starts, counted from 1; None if the format has no lines.
        class_names: column -> names of its classes, where the file stores class numbers with their names.
        content: the typed columns of a parquet file, or the objects of a JSON file, which may lack keys; None: the file
            has nothing that `columns` lack.
    """

    where: str
    columns: Mapping[str, Sequence[Any]]
    lines: Sequence[int] | None = None
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    content: pa.Table | Sequence[Mapping[str, Any]] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def column(self, name: str, key: str) -> Sequence[Any]:
        """Return the cells of a column; `key` is the key of the declaration that names it.

        Raises:
            UserError: there is no such column.
        """
        if name not in self.columns:
            found = ", ".join(self.columns)
            hint = nearest(name, self.columns)
            hint = f"found {found}; {hint}" if hint.startswith("did you mean") else f"found {found}"
            if len(self.columns) == 1 and (delimiter := next((c for c in ";\t|" if c in found), None)):
                hint += f"; if {delimiter!r} separates the columns, set `delimiter` to {delimiter!r}"
            raise UserError(f"{self.where}: no column {name!r} (`{key}`): {hint}")
        return self.columns[name]

    def problem(self, column: str, rows: Sequence[int], found: str, expected: str) -> Problem:
        """Return the problem of the cells in `rows` of a column, of which the first has `found`."""
        place = "line" if self.lines is not None else "row"
        numbers = [self.lines[row] if self.lines is not None else row for row in rows[: MAX_LISTED + 1]]
        others = [str(number) for number in numbers[1:MAX_LISTED]] + ["..."] * (len(numbers) > MAX_LISTED)
        count = f"{len(rows)} of {len(self)} rows" + (f", also {place}s {', '.join(others)}" if others else "")
        return Problem(
            f"{self.where}, {place} {numbers[0]}, column {column!r}: found {found}, expected {expected} ({count});"
            f" {REMEDY}"
        )
