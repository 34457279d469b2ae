"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import completion

SuiteArgument = Annotated[
    str,
    typer.Argument(
        help="a suite file, or the name of a shipped suite, such as quick", autocompletion=completion.suites
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="set a key of the suite: a dotted path and a YAML value that replaces the value in the file, "
        "such as training.epochs=1, 'tasks=\\[sst2]' or latency=null; repeatable",
    ),
]
Results = Annotated[
    Path, typer.Option("--results", metavar="DIR", help="results folder; the suite writes to DIR/<suite name>/")
]
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", metavar="PATH", help="load a plugin: a .py file or a folder; repeatable"),
]
Encoding = Annotated[str, typer.Option("--encoding", help="encoding of text files, such as latin-1 or cp1252")]
Delimiter = Annotated[
    str | None,
    typer.Option("--delimiter", metavar="CHAR", help="character that separates the cells of CSV files, such as ';'"),
]
NoQuoting = Annotated[
    bool, typer.Option("--no-quoting", help="in CSV and TSV files, quotes are characters of the cells")
]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="run Python code contained in the model's folder or repository")
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        envvar="SLURM_NTASKS",
        help="number of workers that share the suite: processes in which you start this command, or workers of Ray; "
        "cohorts are split among them if that saves time",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of a table")]
