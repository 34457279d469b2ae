"""The `harness` command: its subcommands, error output, exit codes.

The arguments and help of the subcommands are in `harness.cli.commands`. A subcommand imports what it runs
(`harness.cli.run_command`, ...) when it is called, so that `harness --help` is fast.
"""

from __future__ import annotations

import gc
import sys
from contextlib import suppress
from typing import Annotated

import typer

from harness.api.errors import UserError
from harness.cli import output_streams
from harness.cli.commands import (
    distill_options,
    model_commands,
    plugin_commands,
    result_commands,
    setup_commands,
    suite_commands,
)
from harness.storage.control_characters import visible

app = typer.Typer(
    name="harness",
    pretty_exceptions_enable=False,  # typer's tracebacks would print local variables, whole tensors too
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Compare knowledge-distillation methods for BERT-like models.\n\n"
    "A suite file (YAML) names tasks, teachers, students, methods and seeds. [bold]validate[/] checks it, "
    "[bold]plan[/] shows what it would train, [bold]run[/] trains what is missing and prints the board (leaderboard), "
    "[bold]report[/] rebuilds the board from stored results. Start with: harness run quick",
    epilog="Exit codes: 0 success; 1 a run failed (all others are finished), or a check of a plugin or folder failed; "
    "2 invalid input or a failing disk or GPU, explained on stderr; 130 interrupted (run the same command again to "
    "resume).",
)
for group in (suite_commands, result_commands, model_commands, plugin_commands, distill_options, setup_commands):
    app.add_typer(group.app)  # without a name of its own: its commands become subcommands of `harness`, in this order


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="print the versions of kd-harness, Python, torch and transformers, and the device"
        ),
    ] = False,
) -> None:
    if version:
        from harness.cli.versions import version_line

        typer.echo(version_line())
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """The `harness` command. Prints a `UserError` on stderr, one message for each problem, and exits with 2.

    It does the same for errors of the disk that nothing else has explained.
    """
    # Importing torch creates a million objects, and each garbage collection would visit them again: without it `list`
    # takes half as long. `run` and `check` turn it on again.
    gc.disable()
    output_streams.prepare()
    try:
        _run_command()
    except UserError as error:
        for problem in error.problems:
            _print_error(str(problem))
        sys.exit(2)
    except Exception as error:
        from harness.storage.disk_errors import problem_of

        disk_problem = problem_of(error)
        if disk_problem is None:  # a bug: its traceback helps to find it
            raise
        _print_error(str(disk_problem))
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        with suppress(OSError, UserError):  # after an error, which has been printed
            output_streams.flush_stdout()
        gc.freeze()  # nor does the collection at interpreter exit visit them


def _run_command() -> None:
    """Run the command of `sys.argv`, and write what it has printed.

    Raises:
        SystemExit: it has ended. If the reader of stdout has left, such as `head`, that is no failure.
        UserError: a user can correct its error, or stdout cannot be written.
    """
    try:
        app()
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):
            output_streams.discard_stdout()
            sys.exit(0)
        with output_streams.reader_may_leave():
            output_streams.flush_stdout()
        raise
    except OSError:
        with output_streams.reader_may_leave():
            output_streams.flush_stdout()  # names stdout if that is what cannot be written
        raise


def _print_error(message: str) -> None:
    typer.secho("error: ", fg="red", bold=True, nl=False, err=True)
    typer.echo(visible("\n  ".join(message.splitlines())), err=True)
