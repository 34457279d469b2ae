"""Chooses the columns and rows of a board that fit into a terminal, and formats them as cells that need no folding."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.cells import cell_len

from harness.cli.text_table import table_width
from harness.cli.text_wrapping import longest_piece, title_lines

if TYPE_CHECKING:
    from harness.reporting.board import Board
    from harness.reporting.table_model import Column, Line

MAX_NAME = 24
"""Maximum width of a name; longer ones are shortened in the middle, because labels of a grid differ at the end."""

PRIORITY = ("name", "average", "speed-up", "score", "size")
"""Kinds of columns, those that are left out last first."""

_INTERVAL = re.compile(r" \[[^\[\]]*\]")
_SYNTHETIC = "(synthetic)"


@dataclass(frozen=True)
class Layout:
    """The part of a board that is shown.

    Attributes:
        titles: the lines of each shown column's title.
        columns: the shown columns.
        widths: their widths in characters.
        lines: the shown lines, with cells only for the shown columns.
        columns_left_out, rows_left_out: numbers of the others.
    """

    titles: tuple[tuple[str, ...], ...]
    columns: tuple[Column, ...]
    widths: tuple[int, ...]
    lines: tuple[Line, ...]
    columns_left_out: int = 0
    rows_left_out: int = 0

    @property
    def header(self) -> int:
        """Number of lines of the header."""
        return max(map(len, self.titles), default=0)


def lay_out(board: Board, width: int, shown: Callable[[str], str]) -> Layout:
    """Choose columns that fit into `width` characters, the most important first. `shown` returns the text of a cell as
    it is printed.

    The intervals of speed-ups are left out where that makes room for a column.
    """
    lines = [replace(line, cells=tuple(shown(_name(cell)) for cell in line.cells)) for line in board.lines]
    full = _fit(board.columns, lines, width, shown)
    if not full.columns_left_out:
        return full
    short = [replace(line, cells=tuple(map(_without_interval, board.columns, line.cells))) for line in lines]
    return min(full, _fit(board.columns, short, width, shown), key=_loss)


def _without_interval(column: Column, cell: str) -> str:
    return _INTERVAL.sub("", cell) if column.kind == "speed-up" else cell


def _loss(layout: Layout) -> tuple[int, int]:
    """Fewer columns are left out, or others than scores."""
    return layout.columns_left_out, -sum(column.kind == "score" for column in layout.columns)


def _fit(columns: Sequence[Column], lines: Sequence[Line], width: int, shown: Callable[[str], str]) -> Layout:
    order = sorted(range(len(columns)), key=lambda index: (PRIORITY.index(columns[index].kind), index))
    titles = [[shown(part) for part in column.lines if part != _SYNTHETIC] for column in columns]
    widths = [
        max([*(cell_len(line.cells[index]) for line in lines), *map(longest_piece, titles[index])])
        for index in range(len(columns))
    ]
    chosen: list[int] = []
    for index in order:
        if columns[index].kind == "name" or table_width([widths[i] for i in [*chosen, index]]) <= width:
            chosen.append(index)
    chosen.sort()
    return Layout(
        titles=tuple(tuple(row for part in titles[i] for row in title_lines(part, widths[i])) for i in chosen),
        columns=tuple(columns[i] for i in chosen),
        widths=tuple(widths[i] for i in chosen),
        lines=tuple(_chosen(line, chosen) for line in lines),
        columns_left_out=len(columns) - len(chosen),
    )


def _chosen(line: Line, chosen: Sequence[int]) -> Line:
    best = frozenset(chosen.index(index) for index in line.best if index in chosen)
    return replace(line, cells=tuple(line.cells[index] for index in chosen), best=best)


def _name(cell: str) -> str:
    """Shorten a long cell in the middle. Cells with numbers are never that long."""
    head = MAX_NAME // 3
    return cell if len(cell) <= MAX_NAME else f"{cell[:head]}…{cell[head + 1 - MAX_NAME :]}"


def limit_rows(layout: Layout, most: int) -> Layout:
    """Leave out lines until at most `most` are left: published figures first, then the last lines of each student.

    Every group keeps its first line as long as `most` allows it.
    """
    most = max(1, most)
    if len(layout.lines) <= most:
        return layout
    positions: dict[int, int] = {}
    seen: dict[str, int] = {}
    for index, line in enumerate(layout.lines):
        positions[index] = seen[line.group] = seen.get(line.group, -1) + 1
    order = sorted(positions, key=lambda i: (layout.lines[i].role == "published", positions[i], i))
    kept = sorted(order[:most])
    return replace(layout, lines=tuple(layout.lines[i] for i in kept), rows_left_out=len(layout.lines) - len(kept))
