"""The reference page of the commands, from their help."""

from __future__ import annotations

import re

import typer.main
from typer.cli import get_docs_for_click

from harness.cli.app import app

COMMANDS = """# Command reference

Generated from `harness --help` and `harness COMMAND --help`. The [README](../index.md#commands) has an overview.

"""

_MARKUP = re.compile(r"\[(/?)(?:bold)?\]")


def commands_page() -> str:
    """Usage, arguments and options of every command."""
    command = typer.main.get_group(app)
    for subcommand in command.commands.values():
        subcommand.short_help = (subcommand.help or "").partition("\n\n")[0].replace("\n", " ")
    context = typer.Context(command, info_name="harness")
    page = get_docs_for_click(obj=command, ctx=context, name="harness", title="harness")
    return COMMANDS + _plain(page.partition("\n")[2])


def _plain(text: str) -> str:
    r"""Help without rich's markup: ``[bold]run[/]`` is bold, ``\[`` an opening bracket."""
    return _MARKUP.sub("**", text).replace("\\[", "[")
