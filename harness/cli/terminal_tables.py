"""Prints tables: drawn with lines in a terminal, plain and not truncated in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from harness.cli.output_streams import encodable
from harness.cli.text_wrapping import longest_word, wrap
from harness.storage.control_characters import visible

if TYPE_CHECKING:
    from rich.text import Text

NARROW = 16
"""Cells up to this width, such as numbers, short names and keys, stay on one line in a terminal."""

Rows = Sequence[Sequence[str]]


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]], *, err: bool = False) -> None:
    """Print a table on stdout, or on stderr if `err`. Cells are plain text: rich markup in them is not interpreted."""
    stream = sys.stderr if err else sys.stdout
    cells = [["" if cell is None else encodable(visible(str(cell)), stream) for cell in row] for row in rows]
    if stream.isatty():
        _draw(headers, cells, stream)
        return
    from tabulate import tabulate

    # Other programs read a pipe: no colours, no wrapping, numbers unchanged.
    print(tabulate(cells, headers, tablefmt="simple", disable_numparse=True), file=stream)


def _draw(headers: Sequence[str], rows: Rows, stream: TextIO) -> None:
    """Draw a table within the width of the terminal, wrapped at words; as a list where the columns do not fit."""
    from rich.console import Console

    console = Console(file=stream, markup=False, highlight=False, emoji=False)
    widths = _widths(headers, rows, console.width)
    lines = _list(headers, rows, console.width) if widths is None else _table(headers, rows, widths)
    for line in lines:
        console.print(line, soft_wrap=True)


def _table(headers: Sequence[str], rows: Rows, widths: Sequence[int]) -> Iterator[Text]:
    from rich.text import Text

    from harness.cli.text_table import row_lines, rule

    yield from row_lines([[Text(header, style="bold")] for header in headers], widths)
    yield rule(widths)
    for row in rows:
        cells = [wrap(cell, width) for cell, width in zip(row, widths, strict=True)]
        yield from row_lines([[Text(line) for line in cell] for cell in cells], widths)


def _list(headers: Sequence[str], rows: Rows, width: int) -> Iterator[Text]:
    """Yield each row as its first cell, with a line for each of the others that is not empty below it."""
    from rich.text import Text

    for row in rows:
        yield Text(row[0], style="bold")
        for header, cell in zip(headers[1:], row[1:], strict=True):
            if cell:
                yield from map(Text, wrap(f"  {header}: {cell}", width, indent="    "))


def _widths(headers: Sequence[str], rows: Rows, width: int) -> list[int] | None:
    """Return the widths of the columns: columns of texts share what narrow ones leave. None if words do not fit."""
    from harness.cli.text_table import GAP

    columns = [[header, *(row[index] for row in rows)] for index, header in enumerate(headers)]
    most = [max(map(len, cells)) for cells in columns]
    least = [
        wide if wide <= NARROW else max(map(longest_word, cells)) for wide, cells in zip(most, columns, strict=True)
    ]
    free = width - GAP * (len(headers) - 1) - sum(least)
    if free < 0:
        return None
    widths = list(least)
    wider = sorted((index for index in range(len(headers)) if least[index] < most[index]), key=lambda i: most[i])
    for position, index in enumerate(wider):
        added = min(most[index] - least[index], free // (len(wider) - position))
        widths[index] += added
        free -= added
    return widths
