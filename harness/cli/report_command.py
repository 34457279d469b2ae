"""`harness report`: rebuild a board from stored results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from harness.cli.stderr_warnings import warn_of_unused_plugins

if TYPE_CHECKING:
    from pathlib import Path


def report_folder(folder: Path, plugins: Sequence[str], format: str | None = None, columns: str | None = None) -> None:
    """Rebuild the report files of a results folder and print the board, or only the report in `format`.

    With `columns`, names of columns separated by commas, only print the LaTeX table with these columns.

    Raises:
        UserError: the format or a column is unknown, or the folder has no results that can be reported.
    """
    from harness.api.errors import UserError, nearest
    from harness.cli.board_view import print_report
    from harness.plugin_host.host import Host
    from harness.reporting import paper_table, report

    if columns is not None:
        if format != "tex":
            raise UserError("--columns selects the columns of the LaTeX table; add `--format tex`")
        typer.echo(paper_table(folder, [name.strip() for name in columns.split(",")]), nl=False)
        return
    host = Host.reporting(plugins)
    warn_of_unused_plugins(host)
    if format is not None and format not in host.reporters:
        raise UserError(f"--format: unknown format {format!r}; {nearest(format, host.reporters)}")
    written = report(folder, host)
    if format is None:
        print_report(written)
    else:
        typer.echo(written.texts[format], nl=False)
