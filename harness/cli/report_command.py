"""`harness report`: rebuild boards from stored results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from harness.cli.stderr_warnings import warn_of_unused_plugins

if TYPE_CHECKING:
    from harness.api.errors import Problem
    from harness.plugin_host.host import Host


def report_folders(
    names: Sequence[str], plugins: Sequence[str], format: str | None = None, columns: str | None = None
) -> None:
    """Rebuild the report files of results folders.

    Prints the board of a single folder, or its report in `format`; of several folders, a line for each.

    With `columns`, names of columns separated by commas, only print the LaTeX table with these columns.

    Args:
        names: results folders, or patterns of their names.

    Raises:
        UserError: the format or a column is unknown, a pattern matches no results folder, or folders have no results
            that can be reported. In the last case all other folders are reported first.
    """
    from harness.api.errors import UserError, nearest
    from harness.plugin_host.host import Host

    if columns is not None and format != "tex":
        raise UserError("--columns selects the columns of the LaTeX table; add `--format tex`")
    folders = list(dict.fromkeys(folder for name in names for folder in _matching(name)))
    if len(folders) > 1 and format is not None:
        raise UserError(f"--format prints the report of one folder, found {len(folders)}: name one of them")
    if columns is not None:
        _print_paper_table(folders[0], columns)
        return
    host = Host.reporting(plugins)
    warn_of_unused_plugins(host)
    if format is not None and format not in host.reporters:
        raise UserError(f"--format: unknown format {format!r}; {nearest(format, host.reporters)}")
    if len(folders) == 1:
        _print_report(folders[0], host, format)
    else:
        _report_all(folders, host)


def _print_paper_table(folder: Path, columns: str) -> None:
    from harness.reporting import paper_table

    typer.echo(paper_table(folder, [name.strip() for name in columns.split(",")]), nl=False)


def _matching(name: str) -> list[Path]:
    """The folder with that name, or the results folders that match it as a pattern."""
    from harness.api.errors import Problem, UserError

    path = Path(name).expanduser()
    if path.exists() or not any(character in name for character in "*?["):
        return [path]
    found = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    folders = [match for match in found if (match / "plan.json").is_file()]
    if not folders:
        what = "matches nothing" if not found else "matches no results folder (none has a plan.json)"
        raise UserError(Problem(what, name))
    return folders


def _print_report(folder: Path, host: Host, format: str | None) -> None:
    from harness.api.errors import UserError
    from harness.cli.board_view import print_report
    from harness.reporting import report

    written = report(folder, host)
    if format is None:
        print_report(written)
    elif format not in written.texts:
        raise UserError(f"--format: the format {format!r} failed; see the warning above")
    else:
        typer.echo(written.texts[format], nl=False)


def _report_all(folders: Sequence[Path], host: Host) -> None:
    """Rebuild the boards of several folders. Raises `UserError` at the end if some failed."""
    from harness.api.errors import UserError
    from harness.reporting import report

    problems: list[Problem] = []
    failed = 0
    for folder in folders:
        try:
            written = report(folder, host)
        except UserError as error:
            failed += 1
            problems += error.problems
            typer.echo(f"{folder}: failed, see below")
        else:
            typer.echo(f"{folder}: {written.files[0]} and {len(written.files) - 1} other files")
    if problems:
        raise UserError(*problems, f"{failed} of {len(folders)} reports failed; the others are written")
