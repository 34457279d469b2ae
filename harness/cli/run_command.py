"""`harness run`: train what is missing, then write and print the board."""

from __future__ import annotations

import gc
import shlex
import sys
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import Problem, UserError, nearest
from harness.cli.command_setup import load_suite
from harness.cli.latency_command import check_latency_section, measure_latency_section
from harness.cli.progress_observers import JsonLines, observer
from harness.cli.terminal_tables import print_table
from harness.execution.claims import Claims
from harness.storage.disk_errors import VANISHED, DiskError
from harness.storage.hashing import key
from harness.storage.store import Store

if TYPE_CHECKING:
    from harness.execution.claim_files import Owner
    from harness.execution.engine import Engine, Outcome
    from harness.planning import Plan
    from harness.plugin_host.host import Host
    from harness.reporting.report_files import Report
    from harness.storage.records import PlanFile

SUCCESS, RUN_FAILED, INVALID_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit codes."""


@dataclass(frozen=True)
class ClusterSettings:
    """Which engine executes a suite, and the settings of those that start workers."""

    engine: str = "local"
    address: str | None = None
    gpus_per_worker: float | None = None


@dataclass(frozen=True)
class RunSettings:
    """How `harness run` executes a suite, and what it prints."""

    json_logs: bool = False
    quiet: bool = False
    workers: int | None = None
    retry_failed: bool = True
    only: Sequence[str] = ()
    cluster: ClusterSettings = ClusterSettings()


def run_suite(name: str, overrides: Sequence[str], plugins: Sequence[str], results: Path, settings: RunSettings) -> int:
    """Train and measure what is missing, write the report files, and print the board. Returns the exit code.

    Raises:
        UserError: the suite or its data are invalid, the device is missing, the suite's latency section cannot be
            measured, or results vanished. In the last two cases the runs are trained and their board is written first.
    """
    gc.enable()
    plan, host = build_plan(name, overrides, plugins)
    check_latency_section(plan, host)
    return train_and_report(plan, Store(results / plan.spec.name), host, settings)


def build_plan(name: str, overrides: Sequence[str], plugins: Sequence[str]) -> tuple[Plan, Host]:
    """Load a suite and build its plan.

    Raises:
        UserError: the suite or its data are invalid, or the device is missing.
    """
    loaded = load_suite(name, overrides, plugins)
    from harness import planning
    from harness.resolution import resolve

    planning.refuse_absent(loaded.suite.spec.device)
    return planning.build(resolve(loaded, online=True)), loaded.host


def train_and_report(plan: Plan, store: Store, host: Host, settings: RunSettings) -> int:
    """Execute the plan, then write and print the board. Returns the exit code."""
    from harness import planning
    from harness.execution.engine import ExecutionOptions
    from harness.planning import run_selection

    suite = plan.spec.name
    engine = engine_of(settings.cluster, host)
    only = run_selection.parse(settings.only, plan.runs)
    # Two labels with one key are one run.
    done = {status.run.key: status.done for status in planning.status(plan, store)}
    selected = {job.planned.key for job in run_selection.select(plan.runs, only)}
    missing = sum(not is_done for key, is_done in done.items() if key in selected)
    file = plan.file(command_line())
    with Claims() as claims, claims.held(_board(store), _definition(file), lambda: False, _say_that_it_waits):
        store.save_plan(file)
    fields = {"suite": suite, "folder": str(store.folder), "runs": missing}
    if settings.json_logs:
        JsonLines().write("suite_started", {**fields, "done": list(done.values()).count(True)})
    elif not settings.quiet:
        print(f"{suite}: {missing} of {len(done)} runs to train; results in {store.folder}", file=sys.stderr)
    with observer(missing, json_logs=settings.json_logs, quiet=settings.quiet) as progress:
        host.add_observer(progress)
        cluster = settings.cluster
        options = ExecutionOptions(
            settings.workers, settings.retry_failed, only, cluster.address, cluster.gpus_per_worker or 1.0
        )
        outcome = engine(plan, store, host, options)
    code = exit_code(outcome)
    error: UserError | None = None
    if code != INTERRUPTED:
        vanished = _vanished(plan, store, selected)  # before the report, which creates the folder again
        error = _report(plan, file, store, host, settings)
        error = vanished or error
    if error:
        code = INVALID_INPUT
    if settings.json_logs:
        JsonLines().write(
            "suite_ended", {**fields, "failed": len(outcome.failed) + len(outcome.failures), "exit_code": code}
        )
    print_failures(outcome)
    if error:
        raise error
    return code


def _vanished(plan: Plan, store: Store, selected: Set[str]) -> DiskError | None:
    """The error if executed runs or teachers have no result, neither a record nor a failure: the store was deleted."""
    from harness.planning.graph_builder import teacher_key

    runs = selected - set(store.run_keys())
    teachers = [
        job for job in plan.teachers if store.teacher(job.key) is None and store.failure(teacher_key(job)) is None
    ]
    lost = len(runs) + len(teachers)
    if not lost:
        return None
    total = len(selected) + len(plan.teachers)
    message = f"the results of {lost} of {total} runs and teachers vanished while the command ran; {VANISHED}"
    return DiskError(Problem(message, str(store.folder)))


def engine_of(settings: ClusterSettings, host: Host) -> Engine:
    """The engine with the given name. Raises `UserError` if there is none, or an option is not for it."""
    if settings.engine not in host.engines:
        message = f"unknown engine {settings.engine!r}; {nearest(settings.engine, host.engines)}"
        raise UserError(Problem(message, "--engine"))
    if settings.engine == "local":
        options = {"--address": settings.address, "--gpus-per-worker": settings.gpus_per_worker}
        problems = [
            Problem("the local engine has no such option; add --engine ray", name)
            for name, value in options.items()
            if value is not None
        ]
        if problems:
            raise UserError(*problems)
    return host.engines[settings.engine]


def _board(store: Store) -> Path:
    """The target that a process claims to write `plan.json` and the board, which belong together."""
    return store.folder / "leaderboard"


def _definition(file: PlanFile) -> str:
    """A description of the suite's definition: processes with the same one write the same board."""
    return f"board of {file.suite} ({key(file.model_dump(mode='json', exclude={'command'}))[:12]})"


def _say_that_it_waits(owner: Owner) -> None:
    print(f"waiting for {owner}, which writes the {owner.description}", file=sys.stderr, flush=True)


def _report(plan: Plan, file: PlanFile, store: Store, host: Host, settings: RunSettings) -> UserError | None:
    """Write and print the board of this suite definition. Returns the error of a latency measurement that failed.

    If several processes with the same definition end together, the first one writes the board. If another process has
    replaced the plan by that of another definition, the plan of this one is stored again.
    """
    definition = _definition(file)
    with Claims() as claims:
        owner = claims.owner(_board(store))
        if owner is not None and owner.description == definition:
            print(f"the board is written by {owner}", file=sys.stderr)
            return None
        with claims.held(_board(store), definition, lambda: False, _say_that_it_waits):
            store.save_plan(file)
            written, latency_error = _write_report(plan, store, host, quiet=settings.quiet or settings.json_logs)
    if not settings.json_logs:
        from harness.cli.board_view import print_report

        print_report(written)
    return latency_error


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
    """130 for an interrupted suite, 1 if anything failed, else 0."""
    if outcome.interrupted:
        return INTERRUPTED
    return RUN_FAILED if outcome.failed or outcome.failures else SUCCESS


def print_failures(outcome: Outcome) -> None:
    """Print tables of what failed, and how to resume an interrupted suite, on stderr."""
    if outcome.failures:
        print("\nfailed before the runs that need it:", file=sys.stderr)
        print_table(["what", "error"], ((record.title, record.error) for record in outcome.failures), err=True)
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
