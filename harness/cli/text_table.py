"""Lines of a table in a terminal: cells padded to the widths of their columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Literal

from rich.text import Text

Align = Literal["left", "right"]

GAP = 2
"""Characters between two columns."""


def row_lines(
    cells: Sequence[Sequence[Text]], widths: Sequence[int], align: Sequence[Align] | None = None
) -> list[Text]:
    """Return the lines of a row whose cells have one or several lines; shorter cells are empty below. `align` of each
    column; by default all are left-aligned."""
    sides = align or ["left"] * len(widths)
    return [_joined(line, widths, sides) for line in zip_longest(*cells, fillvalue=Text())]


def _joined(cells: Sequence[Text], widths: Sequence[int], align: Sequence[Align]) -> Text:
    padded = [cell.copy() for cell in cells]
    for cell, width, side in zip(padded, widths, align, strict=True):
        cell.align(side, width)
    line = Text(" " * GAP).join(padded)
    line.rstrip()
    return line


def rule(widths: Sequence[int]) -> Text:
    """Return the line between the titles and the rows."""
    return Text("─" * table_width(widths))


def table_width(widths: Sequence[int]) -> int:
    """Return the width of a table with columns of these widths."""
    return sum(widths) + GAP * (len(widths) - 1)
