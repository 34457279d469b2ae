"""Commands for the environment of the harness: `doctor`, `schema`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.api.errors import UserError
from harness.cli.commands.shared_options import Plugins

app = typer.Typer()


class Schema(StrEnum):
    """The arguments of `harness schema`."""

    suite = "suite"


@app.command()
def doctor(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="a results folder or a cache to check; without it: the environment"),
    ] = None,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="move what is damaged to DIR/set-aside; the next run makes it again"),
    ] = False,
) -> None:
    """Describe the environment: versions, device, cache, network, broken plugins. With DIR, check its files instead.

    The check reads every file and compares it with its checksum. Exit code 1: something is damaged.
    """
    if folder is None:
        from harness.cli.doctor_command import print_environment

        if repair:
            raise UserError("--repair needs a folder: harness doctor DIR --repair")
        print_environment()
    else:
        from harness.cli.folder_check import check_folder

        raise typer.Exit(check_folder(folder, repair=repair))


@app.command()
def schema(
    what: Annotated[Schema, typer.Argument(help="suite: the keys of a suite file, with the options of every method")],
    plugins: Plugins = None,
) -> None:
    """Print the JSON Schema of suite files, with which editors complete and check keys.

    Write it to a file, and name the file in the first line of your suite:
    # yaml-language-server: $schema=suite.schema.json
    """
    from harness.cli.schema_command import print_suite_schema

    print_suite_schema(plugins or ())
