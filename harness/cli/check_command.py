"""`harness check`: run the conformance checks on the methods of a plugin."""

from __future__ import annotations

import gc
import json
from dataclasses import asdict

import typer

from harness.cli.command_setup import quiet_libraries
from harness.cli.terminal_tables import print_table


def check_plugin(plugin: str, *, as_json: bool) -> int:
    """Run every conformance check on every method of a plugin and print the results as a table or JSON.

    Returns the exit code: 0 if all checks passed, else 1.

    Raises:
        UserError: there is no such plugin, it cannot be loaded, or it registers no method.
    """
    quiet_libraries()
    from harness.testing.conformance import HEADERS, Conformance, origins, resolve_methods, run_checks

    gc.enable()  # the checks create thousands of autograd graphs, which are reference cycles
    methods = resolve_methods(plugin)
    if not as_json:
        typer.echo(f"{origins(methods)}\n")
    conformance = Conformance(tuple(result for method in methods for result in run_checks(method, {})))
    if as_json:
        typer.echo(
            json.dumps({"ok": conformance.ok, "results": [asdict(result) for result in conformance.results]}, indent=1)
        )
    else:
        print_table(HEADERS, conformance.rows)
        typer.echo(f"\n{conformance.counts}")
    return 0 if conformance.ok else 1
