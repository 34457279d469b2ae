"""`harness schema`: print the JSON Schema of suite files."""

from __future__ import annotations

import json
from collections.abc import Sequence

import typer

from harness.cli.command_setup import quiet_libraries


def print_suite_schema(plugins: Sequence[str]) -> None:
    """Print the schema of a suite file, with the tasks and methods that are installed and those of `plugins`.

    Raises:
        UserError: a plugin cannot be loaded.
    """
    quiet_libraries()
    from harness.config.suite_json_schema import suite_schema
    from harness.plugin_host.host import Host

    host = Host.create(plugins)
    schema = suite_schema({name: method.Config for name, method in host.methods.items()}, host.tasks)
    typer.echo(json.dumps(schema, indent=1, ensure_ascii=False))
