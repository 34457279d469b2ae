"""Prints a board in a terminal or a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from harness.reporting.board import Board
    from harness.reporting.report_files import Report
    from harness.reporting.table_model import Column, Line


def print_report(report: Report) -> None:
    """Print the board and the paths of its files: as tables in a terminal, as Markdown (leaderboard.md) in a pipe."""
    if sys.stdout.isatty():
        console = Console(markup=False, highlight=False, emoji=False)
        draw(console, report.board)
        for section in report.sections:
            console.print(f"{section.markdown}\n", soft_wrap=True)
    else:
        print(report.markdown)
    print("\n".join(["Files:", *(f"  {path}" for path in report.files)]))


def draw(console: Console, board: Board) -> None:
    """Print the board as tables, with its marks (such as SYNTHETIC) above and its footnotes below."""
    console.print(Text(board.title, style="bold"))
    for word, text in board.marks:
        console.print(Text.assemble((word, "bold yellow"), f": {text}"))
    console.print(_table(board.columns, board.lines))
    for mark, text in board.footnotes:
        console.print(Text(f"{mark} {text}", style="dim"))
    for table in board.tables:
        console.print(Text(table.title, style="bold"))
        console.print(_table(table.columns, table.lines))
    for sentence in board.reading:
        console.print(Text(sentence, style="dim"))
    console.print()


def _table(columns: Sequence[Column], lines: Sequence[Line]) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold", padding=(0, 1), pad_edge=False)
    for column in columns:
        table.add_column(Text("\n".join(column.lines)), justify=column.align, overflow="fold")
    for line, following in zip(lines, [*lines[1:], None], strict=True):
        closes_group = following is not None and following.group != line.group
        table.add_row(*_cells(line), end_section=closes_group)
    return table


def _cells(line: Line) -> list[Text]:
    style = "" if line.role == "student" else "italic"
    return [Text(cell, style="bold green" if index in line.best else style) for index, cell in enumerate(line.cells)]
