"""The command `distill`, from a teacher and a data file to a small model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import completion
from harness.cli.commands.shared_options import Delimiter, Encoding, NoQuoting, Plugins, TrustRemoteCode

app = typer.Typer()


@app.command()
def distill(
    teacher: Annotated[
        str, typer.Option("--teacher", metavar="MODEL", help="folder or hub id of a fine-tuned model, or of an encoder")
    ],
    data: Annotated[
        str,
        typer.Option("--data", metavar="FILE", help="labelled texts: CSV, TSV, JSON, JSONL or parquet, or a folder"),
    ],
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="where everything is written; default: NAME-distilled")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="name of the task; default: that of the file")] = None,
    encoding: Encoding = "utf-8",
    delimiter: Delimiter = None,
    no_quoting: NoQuoting = False,
    text: Annotated[str | None, typer.Option("--text", metavar="COLUMN", help="column of the text")] = None,
    text_pair: Annotated[
        str | None,
        typer.Option("--text-pair", metavar="COLUMN", help="column of the second text of a pair; '' for none"),
    ] = None,
    label: Annotated[str | None, typer.Option("--label", metavar="COLUMN", help="column of the label")] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="VALUE=NAME", help="the teacher's class for a value of the label; repeatable"),
    ] = None,
    separator: Annotated[
        str | None,
        typer.Option("--separator", metavar="TEXT", help="text that separates several labels in one cell, such as ';'"),
    ] = None,
    validation: Annotated[
        str, typer.Option("--validation", metavar="FILE|SHARE", help="scored examples: a file, or a share of the data")
    ] = "0.2",
    max_length: Annotated[
        int,
        typer.Option(
            "--max-length", metavar="TOKENS", min=8, help="truncate texts to this length, for the teacher as well"
        ),
    ] = 128,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="METHOD",
            help="compare these methods only; repeatable",
            autocompletion=completion.methods,
        ),
    ] = None,
    max_latency: Annotated[
        str | None,
        typer.Option(
            "--max-latency", metavar="TIME", help="maximum median latency for one text on this machine, such as 5ms"
        ),
    ] = None,
    max_params: Annotated[
        str | None,
        typer.Option("--max-params", metavar="NUMBER", help="maximum number of parameters, such as 20M"),
    ] = None,
    budget: Annotated[
        str, typer.Option("--budget", metavar="TIME", help="approximate training time, such as 30min or 2h")
    ] = "30min",
    plugins: Plugins = None,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Make a small, fast model from a fine-tuned one and a file of labelled texts.

    Trains students of several sizes with several methods, within the budget, and exports the best one: harness distill
    --teacher ./my-classifier --data reviews.csv --max-params 50M. The suites that it writes can be edited and run
    with `harness run`.
    """
    from harness.cli.distill_command import DistillOptions, distill_model

    options = DistillOptions(
        teacher,
        data,
        to,
        name,
        encoding,
        delimiter,
        no_quoting,
        text,
        text_pair,
        label,
        classes or (),
        separator,
        validation,
        max_length,
        methods or (),
        max_latency,
        max_params,
        budget,
        plugins or (),
        trust_remote_code,
    )
    raise typer.Exit(distill_model(options))
