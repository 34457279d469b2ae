"""Prints a board in a terminal or a pipe: who is best, and which file has the rest."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from harness.cli.board_layout import Layout, lay_out, limit_rows
from harness.cli.output_streams import encodable, reader_may_leave
from harness.cli.text_table import row_lines, rule
from harness.cli.text_wrapping import wrap

if TYPE_CHECKING:
    from harness.reporting.board import Board
    from harness.reporting.table_model import Line
    from harness.reporting.written_report import Report

MAX_LINES = 30
"""Maximum number of lines in a terminal, which is the height of a small one."""

MIN_ROWS = 6
"""Number of rows that are shown even if there are so many marks and notes that they do not fit."""

RULE = 1
"""Number of lines between header and rows."""

PAGE = "index.html"


def print_report(report: Report) -> None:
    """Print the first table of the board, its verdict and the file to open: drawn in a terminal, as Markdown in a pipe.

    The rest, such as sections, plots and the explanations of all numbers, is in the files.
    """
    with reader_may_leave():
        if sys.stdout.isatty():
            draw(Console(file=sys.stdout, markup=False, highlight=False, emoji=False), report.board, report.files)
        else:
            from harness.reporting.formats import first_table  # as slow to import as pandas

            print("\n\n".join([*first_table(report.board), "\n".join(_file_lines(report.files))]))


def draw(console: Console, board: Board, files: Sequence[Path] = ()) -> None:
    """Print a board in at most `MAX_LINES` lines: title, marks (such as SYNTHETIC), the rows and notes that fit, the
    verdict, and the file to open."""
    shown, width = partial(encodable, stream=console.file), console.width
    marks = [wrap(shown(f"{word}: {text}"), width, most=2) for word, text in board.marks]
    ending = [line for text in board.verdict for line in wrap(shown(text), width, most=3, indent="  ")]
    ending += [line for text in _file_lines(files) for line in wrap(shown(text), width, most=2, indent="  ")]
    layout = lay_out(board, width, shown)
    free = MAX_LINES - 1 - sum(map(len, marks)) - layout.header - RULE - len(ending)
    notes = [wrap(shown(f"{mark} {_gist(text)}"), width, most=2) for mark, text in board.footnotes]
    layout = limit_rows(layout, max(MIN_ROWS, free - len(_left_out(layout, width)) - len(notes[0] if notes else [])))
    dim = _left_out(layout, width)
    for note in notes:
        if len(layout.lines) + len(dim) + len(note) <= free:
            dim += note

    console.print(Text(wrap(shown(board.title), width, most=1)[0], style="bold"))
    for (word, _), lines in zip(board.marks, marks, strict=True):
        text = Text("\n".join(lines))
        text.stylize("bold yellow", 0, len(word))
        console.print(text)
    for text in (*_table(layout), *(Text(line, style="dim") for line in dim), *map(Text, ending)):
        console.print(text, soft_wrap=True)


def _gist(text: str) -> str:
    """The beginning of a note, up to its first bracket or semicolon."""
    return re.split(r" \(|; ", text)[0]


def _left_out(layout: Layout, width: int) -> list[str]:
    counts = {"row": layout.rows_left_out, "column": layout.columns_left_out}
    parts = [f"{count} {noun}{'s' * (count > 1)}" for noun, count in counts.items() if count]
    return wrap(f"Left out for lack of space: {' and '.join(parts)}.", width) if parts else []


def _file_lines(files: Sequence[Path]) -> list[str]:
    """Name the page to open, and the text in the same folder."""
    page = next((path for path in files if path.name == PAGE), None)
    if page is None:
        return [f"Files: {', '.join(map(str, files))}"] if files else []
    text = next((path for path in files if path.name == "leaderboard.md" and path.parent == page.parent), None)
    return [f"Open {page}{f' (as text: {text.name}, in the same folder)' if text else ''}"]


def _table(layout: Layout) -> Iterator[Text]:
    """Yield the lines of the table: titles, a rule, rows."""
    align = [column.align for column in layout.columns]
    titles = [
        [Text()] * (layout.header - len(title)) + [Text(row, style="bold") for row in title] for title in layout.titles
    ]
    yield from row_lines(titles, layout.widths, align)
    yield rule(layout.widths)
    for line in layout.lines:
        yield from row_lines([[cell] for cell in _cells(line)], layout.widths, align)


def _cells(line: Line) -> list[Text]:
    style = "" if line.role == "student" else "italic"
    return [Text(cell, style="bold green" if index in line.best else style) for index, cell in enumerate(line.cells)]
