"""Runs a suite from Python: `harness.run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.config.yaml_tree import display_path
from harness.storage.store import Store
from harness.workflow.suite_command import suite_command
from harness.workflow.suite_execution import RunOptions, SuiteExecution
from harness.workflow.suite_loading import Overrides, as_settings, load_suite, plan_loaded

if TYPE_CHECKING:
    from harness.reporting.written_report import Report
    from harness.storage.failure_records import FailureRecord
    from harness.storage.records import RunRecord
    from harness.workflow.suite_loading import SuiteLike


@dataclass(frozen=True)
class SuiteResult:
    """What is known after a suite was executed.

    Attributes:
        folder: the results folder of the suite; `harness.load_results` reads it.
        failed: records of the runs that failed.
        failures: the teachers and other artifacts that failed, and whose runs therefore failed, too.
        interrupted: whether a signal stopped the execution. Run the suite again to resume.
        report: the written report; None if the execution was interrupted.
    """

    folder: Path
    failed: Sequence[RunRecord] = ()
    failures: Sequence[FailureRecord] = ()
    interrupted: bool = False
    report: Report | None = field(default=None, repr=False)

    @property
    def successful(self) -> bool:
        """Whether every run of the suite was trained or is done."""
        return not (self.failed or self.failures or self.interrupted)


def run(
    suite: SuiteLike,
    *,
    overrides: Overrides = (),
    plugins: Sequence[str | Path] = (),
    results: str | Path = "results",
    observers: Sequence[object] = (),
    options: RunOptions = RunOptions(),  # noqa: B008 - it is frozen
) -> SuiteResult:
    """Train and score the missing runs of a suite, measure its latency section, and write its report.

    Finished runs are not repeated. Failed runs do not raise: see `SuiteResult.failed`.

    Args:
        suite: see `harness.load_suite`.
        overrides: see `harness.load_suite`.
        plugins: see `harness.load_suite`.
        results: the results folder; the suite writes to a folder in it with the suite's name.
        observers: objects with methods marked with `harness.hookimpl`, such as ``harness_step``. They receive the
            events of all runs; see `harness.plugin_host.hookspecs`.
        options: how to execute the suite.

    Raises:
        harness.UserError: the suite or its data are invalid, the device is missing, or `SuiteExecution` refuses it.
            Also if measuring the latency fails; then the runs are trained and the report is written first.
        harness.storage.disk_errors.DiskError: the disk is full or failing, or results vanished. What is done is kept.
    """
    loaded = load_suite(suite, overrides=overrides, plugins=plugins)
    planned = plan_loaded(loaded)
    command = "harness.run(...)"
    if not isinstance(suite, Mapping):
        command = suite_command(display_path(loaded.suite.path), as_settings(overrides), plugins, results)
    execution = SuiteExecution(planned, Store(Path(results) / planned.spec.name), loaded.host, options, command)
    executed = execution.execute(observers)
    if executed.error:
        raise executed.error
    outcome = executed.outcome
    return SuiteResult(execution.store.folder, outcome.failed, outcome.failures, outcome.interrupted, executed.report)
