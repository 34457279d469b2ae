"""What the tables of a board are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Column:
    """A column's title, in lines that may stand above each other or in one line, and how it is aligned."""

    lines: tuple[str, ...]
    align: Literal["left", "right"] = "right"

    @property
    def title(self) -> str:
        return " ".join(self.lines)


@dataclass(frozen=True)
class Line:
    """A row of the board: one string for each column. `best` has the indices of the columns that it leads.

    Lines of one `group` belong together: first the teachers and a constant answer (""), then each student by its name,
    last what others have published ("(published)", which is no name of a student).
    """

    role: Literal["teacher", "constant", "student", "published"]
    group: str
    cells: tuple[str, ...]
    best: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Table:
    """A table below the first: what would make that one too wide to read."""

    title: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    text: str = ""
