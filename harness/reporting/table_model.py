"""Columns, lines and tables of a board."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FIRST_TASK = 3
"""Number of columns of a board before its tasks: rank, method, student."""

MANY_COLUMNS = 9
"""Number of columns beyond which a board is set smaller or closer together."""


@dataclass(frozen=True)
class Column:
    """A column: its title, as lines that are stacked or joined by spaces, its alignment, and what its cells are."""

    lines: tuple[str, ...]
    align: Literal["left", "right"] = "right"
    kind: Literal["name", "score", "average", "speed-up", "size"] = "name"

    @property
    def title(self) -> str:
        return " ".join(self.lines)


@dataclass(frozen=True)
class Line:
    """A row of the board: one string for each column. `best` has the indices of the columns in which it is the best.

    Lines with the same `group` are printed together: the teachers and the constant answer (""), then each student (its
    name), last the published figures ("(published)", which cannot be the name of a student).
    """

    role: Literal["teacher", "constant", "student", "published"]
    group: str
    cells: tuple[str, ...]
    best: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Table:
    """A secondary table, for columns that would make the first table too wide. `text` is shown with it."""

    title: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    text: str = ""
