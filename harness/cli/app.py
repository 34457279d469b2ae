"""The command line: what each command takes, and how errors are told. The work is done in `harness.commands`.

Nothing heavy is imported here, so that `harness --help` answers at once.
"""

from __future__ import annotations

import errno
import gc
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness import __version__
from harness.api.errors import UserError

app = typer.Typer(
    name="harness",
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks print local variables, tensors and all
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Compare knowledge-distillation methods for BERT-like models.\n\n"
    "A suite file (YAML) names tasks, teachers, students, methods and seeds. [bold]validate[/] checks one, "
    "[bold]plan[/] tells what it would train, [bold]run[/] trains what is missing and prints the board, "
    "[bold]report[/] makes the board again from the results. Start with: harness run suites/quick.yaml",
    epilog="Exit codes: 0 all is well; 1 a run failed (the others are done), or a check of a plugin; "
    "2 a mistake in the input, told on stderr; 130 interrupted (the same command goes on where it stopped).",
)

UNUSABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EISDIR)
"""Faults of a folder that a user gave, or of its disk; any other `OSError` is ours."""

SuiteArgument = Annotated[str, typer.Argument(help="a suite file, or the name of one that is shipped (quick)")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="set a key of the suite, repeatable: a dotted path and a YAML value that replaces what is there, "
        "as in training.epochs=1 or 'tasks=\\[sst2]' or latency=null",
    ),
]
Results = Annotated[Path, typer.Option("--results", metavar="DIR", help="where results go: DIR/<name of the suite>/")]
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", metavar="PATH", help="load a plugin, a .py file or a folder; repeatable"),
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of a table")]


class Kind(StrEnum):
    """What `harness list` can list."""

    methods = "methods"
    tasks = "tasks"
    suites = "suites"
    plugins = "plugins"
    published = "published"


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="print the version and stop")] = False,
) -> None:
    if version:
        typer.echo(f"kd-harness {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def run(
    suite: SuiteArgument,
    overrides: Overrides = None,
    results: Results = Path("results"),
    plugins: Plugins = None,
    json_logs: Annotated[
        bool, typer.Option("--json-logs", help="one JSON object a line on stdout for every event; no board")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress: only the board, and what failed")] = False,
) -> None:
    """Train and score what a suite asks for and the results lack, then print the board.

    The same command again does only what is missing. Runs that share a task and its batches train side by side.
    """
    from harness.cli.run_command import run_suite

    raise typer.Exit(run_suite(suite, overrides or [], plugins or [], results, json_logs=json_logs, quiet=quiet))


@app.command()
def plan(
    suite: SuiteArgument,
    overrides: Overrides = None,
    results: Results = Path("results"),
    plugins: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Tell for each run of a suite whether it is done, and for one that is not, why."""
    from harness.cli.plan_command import plan_suite

    plan_suite(suite, overrides or [], plugins or [], results, as_json=as_json)


@app.command()
def validate(
    suite: SuiteArgument,
    overrides: Overrides = None,
    plugins: Plugins = None,
) -> None:
    """Check a suite as `run` would, without training: every problem at once, with file and line."""
    from harness.cli.validate_command import validate_suite

    validate_suite(suite, overrides or [], plugins or [])


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="the results of one suite, such as results/quick")],
    plugins: Plugins = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="NAME", help="print the board in this format: md, csv, tex, bib, json, or a plugin's"
        ),
    ] = None,
) -> None:
    """Make the board and its files again from the stored results."""
    from harness.cli.report_command import report_folder

    report_folder(folder, plugins or [], format)


@app.command()
def latency(
    targets: Annotated[
        list[str],
        typer.Argument(metavar="SUITE | MODEL...", help="a suite that was run, or folders and hub ids of models"),
    ],
    overrides: Overrides = None,
    results: Results = Path("results"),
    plugins: Plugins = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress: only the tables")] = False,
) -> None:
    """Measure how long models take: a suite's students beside its teachers, or any checkpoints beside the first.

    What was measured before on this machine, with the same settings, is not measured again.
    """
    from harness.cli.latency_command import measure_latency

    measure_latency(targets, overrides or [], plugins or [], results, quiet=quiet)


@app.command("list")
def list_(
    kind: Annotated[Kind, typer.Argument(help="what to list")],
    name: Annotated[str | None, typer.Argument(metavar="METHOD", help="explain the options of this one")] = None,
    plugins: Plugins = None,
) -> None:
    """List methods, tasks, shipped suites, plugins and what is wrong with them, or published figures.

    harness list methods METHOD explains the options of one.
    """
    from harness.cli.list_command import print_list

    print_list(kind.value, plugins or [], name)


@app.command()
def check(
    plugin: Annotated[
        str,
        typer.Argument(help="a method's name, a .py file or folder, or the name of an entry point"),
    ],
    as_json: AsJson = False,
) -> None:
    """Check that a plugin's methods keep what the host relies on: on tiny models, in seconds, without data."""
    from harness.cli.check_command import check_plugin

    raise typer.Exit(check_plugin(plugin, as_json=as_json))


@app.command()
def doctor() -> None:
    """Describe the environment: versions, device, cache, network, broken plugins."""
    from harness.cli.doctor_command import print_environment

    print_environment()


def main() -> None:
    """The `harness` command. A user's mistake is told on stderr, one line a problem, and exits with 2."""
    # Torch alone makes a million objects, which a collection would walk again and again: `list` takes half as long
    # without. `run` turns it on again.
    gc.disable()
    try:
        app()
    except UserError as error:
        for problem in error.problems:
            _tell(str(problem))
        sys.exit(2)
    except OSError as error:
        if error.errno not in UNUSABLE:
            raise
        _tell(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        gc.freeze()  # the interpreter's last collection, too


def _tell(mistake: str) -> None:
    typer.secho("error: ", fg="red", bold=True, nl=False, err=True)
    typer.echo("\n  ".join(mistake.splitlines()), err=True)
