"""`harness run`: train what is missing, then write and print the board."""

from __future__ import annotations

import gc
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.command_setup import load_suite
from harness.cli.failure_lines import print_failures
from harness.cli.progress_observers import observer
from harness.cli.stderr_warnings import warn_of_data
from harness.cli.text_lines import print_nothing, print_status
from harness.storage.store import Store
from harness.workflow.suite_command import suite_command
from harness.workflow.suite_execution import RunOptions, SuiteExecution
from harness.workflow.suite_loading import plan_loaded

if TYPE_CHECKING:
    from harness.execution.outcome import Outcome
    from harness.planning import Plan
    from harness.plugin_host.host import Host


@dataclass(frozen=True)
class Output:
    """What `harness run` prints besides the board and failures."""

    json_logs: bool = False
    quiet: bool = False


def run_suite(
    name: str, overrides: Sequence[str], plugins: Sequence[str], results: Path, options: RunOptions, output: Output
) -> int:
    """Train and measure what is missing, write the report files, and print the board. Returns the exit code.

    Raises:
        UserError: the suite or its data are invalid, the device is missing, or `SuiteExecution` refuses it. Also if
            measuring the latency fails; then the runs are trained and their board is written first.
        DiskError: results vanished while the suite ran.
    """
    plan, host = build_plan(name, overrides, plugins)
    command = suite_command(name, overrides, plugins, results)
    execution = SuiteExecution(plan, Store(results / plan.spec.name), host, options, command)
    return train_and_report(execution, output)


def build_plan(name: str, overrides: Sequence[str], plugins: Sequence[str]) -> tuple[Plan, Host]:
    """Load a suite and build its plan.

    Raises:
        UserError: the suite or its data are invalid, or the device is missing.
    """
    loaded = load_suite(name, overrides, plugins)
    return plan_loaded(loaded), loaded.host


def train_and_report(execution: SuiteExecution, output: Output) -> int:
    """Execute the suite, then write and print the board. Returns the exit code."""
    gc.enable()  # training creates reference cycles
    missing, total = len(execution.runs.missing), len(execution.runs.all)
    if not (output.quiet or output.json_logs):
        name, folder = execution.plan.spec.name, execution.store.folder
        print_status(f"{name}: {missing} of {total} runs to train; results in {folder}")
        warn_of_data(execution.plan.data, execution.plan.truncated)
        print_other_workers(execution, missing)
    say = print_nothing if output.quiet or output.json_logs else print_status
    with observer(missing, json_logs=output.json_logs, quiet=output.quiet) as progress:
        executed = execution.execute([progress], say)
    if executed.report is not None and not output.json_logs:
        from harness.cli.board_view import print_report

        print_report(executed.report)
    print_failures(executed.outcome)
    print_interrupted(executed.outcome)
    if executed.error:
        raise executed.error
    return executed.exit_code


def print_other_workers(execution: SuiteExecution, missing: int) -> None:
    """Say on stderr that ``--workers`` starts no process of its own; SLURM starts one per task.

    Only ray starts its workers itself: engines of plugins build jobs in this process, as the local one does.
    """
    others = (execution.options.workers or 1) - 1
    if others and missing and execution.engine_name != "ray" and "SLURM_NTASKS" not in os.environ:
        processes = "one more process" if others == 1 else f"{others} more processes"
        print_status(f"this process is one of {others + 1} workers; start the same command in {processes}")


def print_interrupted(outcome: Outcome) -> None:
    """Print on stderr how to resume an interrupted suite."""
    if outcome.interrupted:
        print(f"interrupted; to resume, run the same command again: {command_line()}", file=sys.stderr)


def command_line() -> str:
    """The command of this process, quoted for a shell."""
    return shlex.join(["harness", *sys.argv[1:]])
