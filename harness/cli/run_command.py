"""`harness run`: train what is missing, then write and print the board."""

from __future__ import annotations

import gc
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import UserError
from harness.cli.command_setup import load_suite
from harness.cli.latency_command import check_latency_section, measure_latency_section
from harness.cli.progress_observers import JsonLines, observer
from harness.cli.terminal_tables import print_table

if TYPE_CHECKING:
    from harness.execution.engine import Outcome
    from harness.planning import Plan
    from harness.plugin_host.host import Host
    from harness.reporting.report_files import Report
    from harness.storage.store import Store

SUCCESS, RUN_FAILED, INVALID_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit codes."""


def run_suite(
    name: str, overrides: Sequence[str], plugins: Sequence[str], results: Path, *, json_logs: bool, quiet: bool
) -> int:
    """Train and measure what is missing, write the report files, and print the board. Returns the exit code.

    Raises:
        UserError: the suite or its data are invalid, the device is missing, or the suite's latency section cannot be
            measured. In the last case the runs are trained and their board is written first.
    """
    gc.enable()
    loaded = load_suite(name, overrides, plugins)
    from harness import planning
    from harness.resolution import resolve
    from harness.storage.store import Store

    spec = loaded.suite.spec
    planning.refuse_absent(spec.device)
    plan = planning.build(resolve(loaded, online=True))
    check_latency_section(plan, loaded.host)
    return _train_and_report(plan, Store(results / spec.name), loaded.host, json_logs=json_logs, quiet=quiet)


def _train_and_report(plan: Plan, store: Store, host: Host, *, json_logs: bool, quiet: bool) -> int:
    from harness import planning
    from harness.execution import local_engine

    suite = plan.spec.name
    # Two labels with one key are one run.
    done = {status.run.key: status.done for status in planning.status(plan, store)}
    missing = list(done.values()).count(False)
    store.save_plan(plan.file(command_line()))
    fields = {"suite": suite, "folder": str(store.folder), "runs": missing}
    if json_logs:
        JsonLines().write("suite_started", {**fields, "done": len(done) - missing})
    elif not quiet:
        print(f"{suite}: {missing} of {len(done)} runs to train; results in {store.folder}", file=sys.stderr)
    with observer(missing, json_logs=json_logs, quiet=quiet) as progress:
        host.add_observer(progress)
        outcome = local_engine.execute(plan, store, host)
    code = exit_code(outcome)
    written, latency_error = None, None
    if code != INTERRUPTED:
        written, latency_error = _write_report(plan, store, host, quiet=quiet or json_logs)
    if latency_error:
        code = INVALID_INPUT
    if json_logs:
        JsonLines().write("suite_ended", {**fields, "failed": len(outcome.failed), "exit_code": code})
    elif written:
        from harness.cli.board_view import print_report

        print_report(written)
    print_failures(outcome)
    if latency_error:
        raise latency_error
    return code


def _write_report(plan: Plan, store: Store, host: Host, *, quiet: bool) -> tuple[Report, UserError | None]:
    """Write the report files, measure the suite's latency section, and write them again if it was measured.

    An error of the measurement is returned, so that the board of the trained runs is printed nevertheless.
    """
    from harness.reporting import report

    written = report(store.folder, host)
    try:
        if measure_latency_section(plan, store, host, quiet=quiet):
            written = report(store.folder, host)
    except UserError as error:
        return written, error
    return written, None


def exit_code(outcome: Outcome) -> int:
    """130 for an interrupted suite, 1 if a run failed, else 0."""
    if outcome.interrupted:
        return INTERRUPTED
    return RUN_FAILED if outcome.failed else SUCCESS


def print_failures(outcome: Outcome) -> None:
    """Print a table of the failed runs, and how to resume an interrupted suite, on stderr."""
    if outcome.failed:
        count = len(outcome.failed)
        print(f"\n{count} run{'s' * (count > 1)} failed:", file=sys.stderr)
        print_table(
            ["task", "method", "student", "seed", "error"],
            ((record.task, record.label, record.student, record.seed, record.error) for record in outcome.failed),
            err=True,
        )
    if outcome.interrupted:
        print(f"interrupted; to resume, run the same command again: {command_line()}", file=sys.stderr)


def command_line() -> str:
    """The command of this process, quoted for a shell."""
    return shlex.join(["harness", *sys.argv[1:]])
