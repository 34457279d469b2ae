"""Commands on results folders: `report`, `compare`, `merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from harness.cli import completion
from harness.cli.commands.shared_options import AsJson, Plugins

app = typer.Typer()


@app.command()
def report(
    folders: Annotated[
        list[str],
        typer.Argument(
            metavar="DIR...", help="results folders, such as results/quick, or patterns such as 'results/*'"
        ),
    ],
    plugins: Plugins = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="print only this format: md, csv, tex, bib, json, or one of a plugin",
            autocompletion=completion.formats,
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            metavar="NAME,...",
            help="with --format tex: print the LaTeX table with these columns, and write no file: rank, method, "
            "student, tasks (or the names of tasks), average, params, speed-up, iqm, gap, behind, p, std, compression, "
            "cost, tuning, runs, protocol",
        ),
    ] = None,
) -> None:
    """Rebuild the board and its files from stored results, of one folder or of several.

    A folder whose board cannot be rebuilt does not stop the others: its error is printed at the end, with exit code 2.

    harness report 'results/*'
    """
    from harness.cli.report_command import report_folders

    report_folders(folders, plugins or [], format, columns)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="DIR", help="a results folder, such as results/quick")],
    second: Annotated[Path, typer.Argument(metavar="DIR", help="another one")],
    as_json: AsJson = False,
) -> None:
    """Show what differs between two results folders: settings, versions, machines, rows and scores.

    Differences of scores have intervals and p-values, paired where both folders scored the same examples with the same
    seeds. The exit code is 0 whether or not they differ.
    """
    from harness.cli.compare_command import compare

    compare(first, second, as_json=as_json)


@app.command()
def merge(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="results folders, each of one suite, such as machine-1/results/glue"),
    ],
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", help="the merged results folder: a new one, or one to add to")
    ],
    prefer: Annotated[
        Literal["first", "last"] | None,
        typer.Option(
            "--prefer",
            help="whose results to take where folders contradict each other: those of the first or the last one; an "
            "existing --to is the first",
        ),
    ] = None,
    plugins: Plugins = None,
) -> None:
    """Merge the results of several machines into one board. The merged folders do not change.

    Results with the same key are stored once; if they differ, it is an error, unless --prefer decides. Tasks, rows,
    students and seeds of all folders are united. Repeat an interrupted merge: it copies what is missing.

    harness merge machine-1/results/glue machine-2/results/glue --to results/glue
    """
    from harness.cli.merge_command import merge_folders

    merge_folders(folders, to, prefer, plugins or [])
