"""Commands for plugins: `list`, `check`, `new-method`, `new-task`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import completion
from harness.cli.commands.shared_options import AsJson, Plugins

app = typer.Typer()


class Kind(StrEnum):
    """The arguments of `harness list`."""

    methods = "methods"
    tasks = "tasks"
    suites = "suites"
    plugins = "plugins"
    published = "published"


NewName = Annotated[str, typer.Argument(metavar="NAME", help="the name in suites and on boards")]
NewFolder = Annotated[Path, typer.Option("--to", metavar="DIR", help="the folder to write NAME/ into")]
AsPackage = Annotated[bool, typer.Option("--package", help="write a package with an entry point, to install with pip")]


@app.command("list")
def list_(
    kind: Annotated[Kind, typer.Argument(help="what to list")],
    name: Annotated[
        str | None,
        typer.Argument(metavar="METHOD", help="explain the options of this method", autocompletion=completion.methods),
    ] = None,
    plugins: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """List methods, tasks, shipped suites, plugins with their errors, or published figures.

    Methods are listed by group, with the tasks, teachers and students that they support and the outputs that they read.

    harness list methods METHOD explains the options of one method.

    harness list methods --json
    """
    from harness.cli.list_command import print_list

    print_list(kind.value, plugins or [], name, as_json=as_json)


@app.command()
def check(
    plugin: Annotated[
        str,
        typer.Argument(
            help="the name of a method, a .py file or folder, or the name of an entry point",
            autocompletion=completion.methods,
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Test on tiny models whether the methods of a plugin meet the requirements of the harness. Needs no data."""
    from harness.cli.check_command import check_plugin

    raise typer.Exit(check_plugin(plugin, as_json=as_json))


@app.command("new-method")
def new_method(name: NewName, to: NewFolder = Path(), package: AsPackage = False) -> None:
    """Write a plugin with a new method, which trains already and passes its checks, with a test and a README."""
    from harness.cli.new_command import new_method

    new_method(name, to, package=package)


@app.command("new-task")
def new_task(name: NewName, to: NewFolder = Path(), package: AsPackage = False) -> None:
    """Write a plugin with a new task on a few examples, which you replace with yours, with a test and a README."""
    from harness.cli.new_command import new_task

    new_task(name, to, package=package)
