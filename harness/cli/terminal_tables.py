"""Prints tables: drawn with lines in a terminal, plain and not truncated in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]], *, err: bool = False) -> None:
    """Print a table on stdout, or on stderr if `err`. Cells are plain text: rich markup in them is not interpreted."""
    stream = sys.stderr if err else sys.stdout
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not stream.isatty():
        from tabulate import tabulate

        # Other programs read a pipe: no colours, no wrapping, numbers unchanged.
        print(tabulate(cells, headers, tablefmt="simple", disable_numparse=True), file=stream)
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(*headers, box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for row in cells:
        table.add_row(*row)
    Console(stderr=err, markup=False, highlight=False, emoji=False).print(table)
