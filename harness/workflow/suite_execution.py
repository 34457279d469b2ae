"""Executes a suite: trains what is missing, measures latency, and writes the report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from harness.api.errors import Problem, UserError, describe, nearest
from harness.api.events import SuiteEnded, SuiteStarted
from harness.execution.active_processes import announced, held_board
from harness.execution.claims import Claims
from harness.execution.outcome import ExecutionOptions, Outcome
from harness.planning import run_selection
from harness.storage.disk_errors import VANISHED, DiskError, is_disk_error
from harness.storage.store import Store
from harness.workflow import latency_measurement, suite_trackers

if TYPE_CHECKING:
    from harness.execution.plan_execution import PlanEngine
    from harness.planning import Plan, RunJob
    from harness.plugin_host.host import Host
    from harness.reporting.written_report import Report

SUCCESS, RUN_FAILED, DISK_ERROR, INTERRUPTED = 0, 1, 2, 130
"""Exit codes of `harness run`. 2 is also that of invalid input."""

log = logging.getLogger("harness")

Say = Callable[[str], None]
"""Receives a line about the progress, for people to read."""


@dataclass(frozen=True)
class RunOptions:
    """How a suite is executed. None of these options changes a result.

    Attributes:
        engine: what executes the jobs: ``local`` (this process), ``ray``, or an engine of a plugin.
        workers: number of workers that share the suite; None: one, or as many as fit into the engine's cluster.
        retry_failed: whether to try what failed before again.
        only: ``COLUMN=VALUE``: train only runs that match; values of one column are alternatives. Columns: task,
            label, method, student, seed, key.
        address, gpus_per_worker: of the Ray cluster, see `harness run --help`.
        track: names of trackers that record the runs, in addition to those of the suite's ``tracking``.
    """

    engine: str = "local"
    workers: int | None = None
    retry_failed: bool = True
    only: Sequence[str] = ()
    address: str | None = None
    gpus_per_worker: float | None = None
    track: Sequence[str] = ()


@dataclass(frozen=True)
class Executed:
    """What an execution has done: its outcome, the report if it was written, and the error of what followed training:
    results that vanished, or a latency measurement that failed."""

    outcome: Outcome
    report: Report | None = None
    error: UserError | None = None

    @property
    def exit_code(self) -> int:
        """The exit code of `harness run`."""
        if self.error:
            return DISK_ERROR
        if self.outcome.interrupted:
            return INTERRUPTED
        return RUN_FAILED if self.outcome.failed or self.outcome.failures else SUCCESS


@dataclass(frozen=True)
class RunKeys:
    """Keys of a suite's runs. Two labels with one key are one run.

    Attributes:
        all: of every run.
        done: of the runs that are done.
        missing: of the runs to train: those that the options select, and those that they learn from.
        selected: of the runs that the options select, and of `missing`.
    """

    all: frozenset[str]
    done: frozenset[str]
    missing: frozenset[str]
    selected: frozenset[str]


def _keys(jobs: Iterable[RunJob]) -> frozenset[str]:
    return frozenset(job.planned.key for job in jobs)


class SuiteExecution:
    """A planned suite that is about to be executed. What can be refused before training is refused when it is created.

    Args:
        plan, store, host: the suite.
        options: how to execute it.
        command: the command to repeat it, for the report.

    Raises:
        UserError: there is no such engine, an option is not for it, the selection is invalid, a tracker cannot be
            created, or the latency section cannot be measured on this machine.
    """

    def __init__(self, plan: Plan, store: Store, host: Host, options: RunOptions, command: str) -> None:
        latency_measurement.check_section(plan, host)
        self.plan, self.store, self.host = plan, store, host
        self.engine = engine_of(options, host)
        self.engine_name = options.engine
        self.file = plan.file(command)
        only = run_selection.parse(options.only, plan.runs)
        self._trackers = suite_trackers.create([*plan.spec.tracking, *options.track], host, store.folder / "tracking")
        self.options = ExecutionOptions(
            workers=options.workers,
            address=options.address,
            gpus_per_worker=options.gpus_per_worker or 1.0,
            retry_failed=options.retry_failed,
            only=only,
        )

    @cached_property
    def runs(self) -> RunKeys:
        """The runs by their state in the store when this is first read."""
        from harness.execution.remaining_jobs import missing_runs
        from harness.planning import pending

        every, missing = _keys(self.plan.runs), _keys(missing_runs(self.plan, self.store, self.options))
        return RunKeys(
            all=every,
            done=every - _keys(pending(self.plan, self.store)),
            missing=missing,
            selected=missing | _keys(run_selection.select(self.plan.runs, self.options.only)),
        )

    def execute(self, observers: Sequence[object] = (), say: Say = lambda line: None) -> Executed:
        """Train and score the missing runs, and write the report unless the execution was interrupted.

        The events go to `observers`, trackers and plugins that observe; the end of the suite also after an exception.
        `say` receives lines about waiting and measuring.
        """
        for observer in observers:
            self.host.add_observer(observer)
        for title, tracker in self._trackers.items():
            self.host.add_observer(tracker, title)
        name, folder = self.plan.spec.name, str(self.store.folder)
        missing = len(self.runs.missing)
        started = SuiteStarted(name, folder, missing, len(self.runs.done), self.file.command, self._settings())
        self.host.notify("harness_suite_started", started)
        executed, code = None, DISK_ERROR
        try:
            executed = self._execute(say)
            code = executed.exit_code
        except KeyboardInterrupt:  # after the training, such as while it waits to write the board
            code = INTERRUPTED
            raise
        finally:
            failed = len(executed.outcome.failed) + len(executed.outcome.failures) if executed else 0
            files = tuple(map(str, executed.report.files)) if executed and executed.report else ()
            self.host.notify("harness_suite_ended", SuiteEnded(name, folder, missing, failed, code, files))
        return executed

    def _execute(self, say: Say) -> Executed:
        outcome = self._train(say)
        if outcome.interrupted:
            return Executed(outcome)
        lost = self._lost_results()  # before the report, which creates the folder again
        report, latency_error = self._report(say)
        return Executed(outcome, report, lost or latency_error)

    def _settings(self) -> dict[str, Mapping[str, Any]]:
        """The parts of the keys of runs, teachers and text stages, by key."""
        runs = {job.planned.key: job.parts for job in self.plan.runs}
        teachers = {job.key: job.parts for job in self.plan.teachers}
        return {**runs, **teachers, **{job.key: job.parts for job in self.plan.text_stages(self.plan.runs)}}

    def _train(self, say: Say) -> Outcome:
        """Store the plan, and train and score the missing runs. `say` receives a line if it waits for a process."""
        with Claims() as claims, ExitStack() as until_trained:
            with self._held_board(claims, say):
                self._save_plan()
                until_trained.enter_context(announced(claims, self.store.folder))
            return self._outcome()

    def _outcome(self) -> Outcome:
        """Run the engine. Raises `UserError` if one of a plugin fails, or returns before all jobs have ended."""
        from harness.execution.plan_execution import PlanExecution

        name, host = self.engine_name, self.host
        try:
            return PlanExecution(self.plan, self.store, host, self.options).run(self.engine)
        except (Exception, SystemExit) as error:
            if isinstance(error, UserError) or is_disk_error(error) or host.is_shipped("engine", name):
                raise
            log.debug("the engine's traceback", exc_info=True)
            origin = host.origin_of("engine", name)
            raise UserError(Problem(f"engine {name!r} failed: {describe(error)}", origin)) from error

    def _save_plan(self) -> None:
        """Store the plan. If the suite has no latency section, the settings stay with which `harness latency` measured.

        The board shows the measurements with these settings. Without measurements there is nothing to show.
        """
        stored = None
        if self.file.latency is None and self.store.latency_keys():
            with suppress(UserError):  # a damaged plan is replaced
                stored = self.store.plan()
        kept = self.file if stored is None else self.file.model_copy(update={"latency": stored.latency})
        self.store.save_plan(kept)

    def _lost_results(self) -> DiskError | None:
        """The error if executed runs or teachers have neither a record nor a failure: the store was deleted."""
        from harness.planning.graph_builder import teacher_key

        runs = self.runs.selected - set(self.store.run_keys())
        teachers = [
            job
            for job in self.plan.teachers
            if self.options.trains_board_teachers
            and self.store.teacher(job.key, job.data.validation_fingerprint) is None
            and self.store.failure(teacher_key(job)) is None
        ]
        lost = len(runs) + len(teachers)
        if not lost:
            return None
        total = len(self.runs.selected) + len(self.plan.teachers)
        message = f"the results of {lost} of {total} runs and teachers vanished while the command ran; {VANISHED}"
        return DiskError(Problem(message, str(self.store.folder)))

    def _report(self, say: Say) -> tuple[Report, UserError | None]:
        """Write the report of this suite definition, with its latency section.

        Waits for a process that writes a report: it may have read the results before this one has stored its own. If
        nothing has changed since, that report is recalled. If another process has replaced the plan by that of another
        definition, the plan of this one is stored again.

        Returns:
            the report, and the error of a latency measurement that failed.
        """
        with Claims() as claims, self._held_board(claims, say):
            self._save_plan()
            return self._write_report(say)

    def _held_board(self, claims: Claims, say: Say) -> AbstractContextManager[None]:
        return held_board(claims, self.store.folder, f"board of {self.file.suite}", say)

    def _write_report(self, say: Say) -> tuple[Report, UserError | None]:
        """Write the report, measure the latency section, and write the report again if it was measured."""
        from harness.reporting import report

        written = report(self.store.folder, self.host)
        try:
            if latency_measurement.measure_section(self.plan, self.store, self.host, say):
                written = report(self.store.folder, self.host)
        except UserError as error:
            return written, error
        return written, None


def engine_of(options: RunOptions, host: Host) -> PlanEngine:
    """The engine with the given name. Raises `UserError` if there is none, or an option is not for it."""
    if options.engine not in host.engines:
        message = f"unknown engine {options.engine!r}; {nearest(options.engine, host.engines)}"
        raise UserError(Problem(message, "--engine"))
    if options.engine == "local":
        cluster = {"--address": options.address, "--gpus-per-worker": options.gpus_per_worker}
        problems = [
            Problem("the local engine has no such option; add --engine ray", name)
            for name, value in cluster.items()
            if value is not None
        ]
        if problems:
            raise UserError(*problems)
    return host.engines[options.engine]
