"""Finds invalid values in the columns of a data set: ids, texts and words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.api.errors import Problem
from harness.tasks.qa_answers import short_repr

if TYPE_CHECKING:
    import pyarrow as pa

MAX_LISTED_IDS = 5
"""Maximum number of ids in a message."""

REMEDY = "correct or remove these rows"


@dataclass(frozen=True)
class Fault:
    """Invalid values of one column.

    Attributes:
        rows: rows with such values; empty: the column as a whole is invalid.
        found: the value of the first of these rows.
        expected: the allowed values.
    """

    rows: Sequence[int]
    found: str
    expected: str

    def problem(self, where: str, column: str, ids: Sequence[str | None]) -> Problem:
        """Return the problem to report. `where` names data set and split; `ids` has the ids of all rows."""
        place, count = "", ""
        if self.rows:
            row, listed = self.rows[0], [ids[row] for row in self.rows[: MAX_LISTED_IDS + 1]]
            place = f", row {row}" + ("" if listed[0] is None else f" (id {listed[0]!r})")
            more = ["..."] * (len(listed) > MAX_LISTED_IDS)
            others = ", ".join([repr(id) for id in listed[1:MAX_LISTED_IDS] if id is not None] + more)
            count = f" ({len(self.rows)} of {len(ids)} rows{f', also {others}' if others else ''})"
        return Problem(
            f"{where}, column {column!r}{place}: found {self.found}, expected {self.expected}{count}; {REMEDY}"
        )


def id_faults(column: pa.ChunkedArray) -> Iterator[Fault]:
    """Yield faults of the ids: texts, all different."""
    wrong = list(text_faults(column))
    yield from wrong
    ids = column.to_pylist()
    counts = Counter() if wrong else Counter(ids)
    if len(counts) < len(ids) and counts:
        id, count = counts.most_common(1)[0]
        rows = [row for row, value in enumerate(ids) if value == id]
        duplicates = len(ids) - len(counts)
        yield Fault(rows, f"the duplicate id {id!r} in {count} rows", f"unique ids ({duplicates} duplicates in all)")


def text_faults(column: pa.ChunkedArray) -> Iterator[Fault]:
    """Yield faults of a column of texts."""
    import pyarrow.types as types

    yield from nulls(column, "text")
    if not (types.is_string(column.type) or types.is_large_string(column.type) or types.is_null(column.type)):
        yield wrong_type(column, "text")


def word_faults(column: pa.ChunkedArray) -> Iterator[Fault]:
    """Yield faults of a column of lists of words."""
    expected = "a list of words"
    yield from nulls(column, expected)
    lists = column.to_pylist()
    if wrong := [row for row, words in enumerate(lists) if words is not None and not is_list_of(str, words)]:
        yield Fault(wrong, short(lists[wrong[0]]), expected)


def nulls(column: pa.ChunkedArray, expected: str) -> Iterator[Fault]:
    """Yield a fault if there are null values in place of the `expected` ones."""
    if column.null_count:
        yield Fault(column.is_null().to_numpy().nonzero()[0].tolist(), "null", expected)


def wrong_type(column: pa.ChunkedArray, expected: str) -> Fault:
    """Return the fault of a column whose type is not that of the `expected` values."""
    value = next((value for value in column.to_pylist() if value is not None), None)
    return Fault((), f"values of type {str(column.type).replace('large_', '')}, such as {short(value)}", expected)


def is_list_of(type: type, values: Any) -> bool:
    """Return whether `values` is a list of values of `type`, and no `bool` among them."""
    return isinstance(values, list) and all(isinstance(v, type) and not isinstance(v, bool) for v in values)


def short(value: Any) -> str:
    """Return a value as text for a message."""
    return f"{value:g}" if isinstance(value, float) else short_repr(value)
