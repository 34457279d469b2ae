"""`harness run`: from a suite to its board."""

from __future__ import annotations

import gc
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import UserError
from harness.cli.command_setup import load_suite
from harness.cli.latency_command import check_before, measure_after
from harness.cli.progress_observers import JsonLines, observer
from harness.cli.terminal_tables import print_table

if TYPE_CHECKING:
    from harness.execution.local_engine import Outcome

DONE, RUN_FAILED, MISTAKE, INTERRUPTED = 0, 1, 2, 130


def run_suite(
    name: str, overrides: Sequence[str], plugins: Sequence[str], results: Path, *, json_logs: bool, quiet: bool
) -> int:
    """Train and measure what is missing, print the board and where its files are. Returns the exit code."""
    gc.enable()
    loaded = load_suite(name, overrides, plugins)
    suite, host = loaded.suite, loaded.host
    from harness import planning
    from harness.execution import local_engine
    from harness.reporting import report
    from harness.resolution import resolve
    from harness.storage.store import Store

    planning.refuse_absent(suite.spec.device)
    planned = planning.build(resolve(loaded, online=True))
    check_before(planned, host)
    store = Store(results / suite.spec.name)
    # Two labels of one key are one run.
    done = {state.run.key: state.done for state in planning.status(planned, store)}
    missing = list(done.values()).count(False)
    store.save_plan(planned.file(command()))
    about = {"suite": suite.spec.name, "folder": str(store.folder), "runs": missing}
    if json_logs:
        JsonLines().write("suite_started", {**about, "done": len(done) - missing})
    elif not quiet:
        print(f"{suite.spec.name}: {missing} of {len(done)} runs to train, into {store.folder}", file=sys.stderr)
    with observer(missing, json_logs=json_logs, quiet=quiet) as watcher:
        host.add_observer(watcher)
        outcome = local_engine.execute(planned, store, host)
    code = exit_code(outcome)
    written = None if code == INTERRUPTED else report(store.folder, host)
    trouble = None
    try:
        if written and measure_after(planned, store, host, quiet=quiet or json_logs):
            written = report(store.folder, host)
    except UserError as error:  # what was trained has its board all the same
        trouble, code = error, MISTAKE
    if json_logs:
        JsonLines().write("suite_ended", {**about, "failed": len(outcome.failed), "exit_code": code})
    elif written:
        from harness.cli.board_view import print_report

        print_report(written)
    tell_trouble(outcome)
    if trouble:
        raise trouble
    return code


def exit_code(outcome: Outcome) -> int:
    """130 for an interrupted suite, 1 if a run failed, else 0."""
    if outcome.interrupted:
        return INTERRUPTED
    return RUN_FAILED if outcome.failed else DONE


def tell_trouble(outcome: Outcome) -> None:
    """What failed, and how to go on, on stderr."""
    if outcome.failed:
        count = len(outcome.failed)
        print(f"\n{count} run{'s' * (count > 1)} failed:", file=sys.stderr)
        print_table(
            ["task", "method", "student", "seed", "error"],
            ((r.task, r.label, r.student, r.seed, r.error) for r in outcome.failed),
            err=True,
        )
    if outcome.interrupted:
        print(f"interrupted; the same command goes on from here: {command()}", file=sys.stderr)


def command() -> str:
    """The command as a user would type it again."""
    return shlex.join(["harness", *sys.argv[1:]])
