"""`harness check`: whether a plugin's methods keep what the host relies on."""

from __future__ import annotations

import gc
import json
from dataclasses import asdict

import typer

from harness.cli.command_setup import quiet_libraries
from harness.cli.terminal_tables import print_table


def check_plugin(plugin: str, *, as_json: bool) -> int:
    """Check every method of a plugin and print what was found; the exit code."""
    quiet_libraries()
    from harness.testing.conformance import HEADERS, Conformance, examine, methods_of

    gc.enable()  # graphs of losses, of which there are thousands, are cycles
    found = Conformance(tuple(result for method in methods_of(plugin) for result in examine(method, {})))
    if as_json:
        typer.echo(json.dumps({"ok": found.ok, "results": [asdict(result) for result in found.results]}, indent=1))
    else:
        print_table(HEADERS, found.rows)
        typer.echo(f"\n{found.counts}")
    return 0 if found.ok else 1
