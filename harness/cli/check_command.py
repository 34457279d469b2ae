"""`harness check`: whether a plugin's methods keep what the host relies on."""

from __future__ import annotations

import gc
import json
from dataclasses import asdict

import typer

from harness.cli.suite_commands import calm_libraries
from harness.cli.terminal_tables import print_table


def check_plugin(plugin: str, *, as_json: bool) -> int:
    """Check every method of a plugin and print what was found; the exit code."""
    calm_libraries()
    from harness.testing.conformance import HEADERS, Conformance, resolve_methods, run_checks

    gc.enable()  # graphs of losses, of which there are thousands, are cycles
    found = Conformance(tuple(result for method in resolve_methods(plugin) for result in run_checks(method, {})))
    if as_json:
        typer.echo(json.dumps({"ok": found.ok, "results": [asdict(result) for result in found.results]}, indent=1))
    else:
        print_table(HEADERS, found.rows)
        typer.echo(f"\n{found.counts}")
    return 0 if found.ok else 1
