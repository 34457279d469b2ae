"""`harness distill`: from a teacher and a data file to a small model."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import Problem, UserError
from harness.cli.command_setup import quiet_libraries
from harness.cli.delimiter import delimiter
from harness.cli.quantities import count, duration, seconds
from harness.cli.text_lines import print_status

if TYPE_CHECKING:
    from harness.workflow.suite_run import SuiteResult


@dataclass(frozen=True)
class DistillOptions:
    """The options of `harness distill` as typed; see `harness.distill.request.Request`."""

    teacher: str
    data: str
    to: Path | None = None
    name: str | None = None
    encoding: str = "utf-8"
    delimiter: str | None = None
    no_quoting: bool = False
    text: str | None = None
    text_pair: str | None = None
    label: str | None = None
    classes: Sequence[str] = ()
    separator: str | None = None
    validation: str = "0.2"
    max_length: int = 128
    methods: Sequence[str] = ()
    max_latency: str | None = None
    max_params: str | None = None
    budget: str = "30min"
    plugins: Sequence[str] = ()
    trust_remote_code: bool = False


def distill_model(options: DistillOptions) -> int:
    """Write suites, run them within the budget, and export the best student. Returns the exit code.

    Raises:
        UserError: teacher, data or an option are invalid, or no student is within the limits.
    """
    gc.enable()
    quiet_libraries()
    from harness.distill.distillation import distill, summary_lines
    from harness.distill.request import Request

    name = options.name or _name(options.data)
    request = Request(
        teacher=options.teacher,
        data=options.data,
        folder=options.to or Path(f"{name}-distilled"),
        name=name,
        encoding=options.encoding,
        delimiter=delimiter(options.delimiter),
        quoting=not options.no_quoting,
        text=options.text,
        text_pair=options.text_pair,
        label=options.label,
        classes=_classes(options.classes),
        separator=options.separator or None,
        validation=_validation(options.validation),
        max_length=options.max_length,
        methods=tuple(options.methods),
        plugins=tuple(options.plugins),
        trust_remote_code=options.trust_remote_code,
        max_seconds=None if options.max_latency is None else seconds(options.max_latency, "--max-latency"),
        max_parameters=None if options.max_params is None else count(options.max_params, "--max-params"),
        budget=duration(options.budget, "--budget"),
    )
    rungs: list[SuiteResult] = []

    def execute(suite: Path) -> SuiteResult:
        rungs.append(run_with_progress(suite, request.results, warn=not rungs))  # all rungs have the same data
        return rungs[-1]

    distilled = distill(request, execute, print_status)
    print("\n".join(summary_lines(distilled)))
    return 0 if all(rung.successful for rung in rungs) else 1


def run_with_progress(suite: Path, results: Path, *, warn: bool) -> SuiteResult:
    """Run a suite file, show its progress and its failures, and write its report.

    Args:
        suite: the suite file.
        results: the results folder.
        warn: whether to print warnings of the data.

    Raises:
        KeyboardInterrupt: a signal stopped it; its results are kept.
        UserError: the suite is invalid.
    """
    from harness.cli.failure_lines import print_failures
    from harness.cli.progress_observers import observer
    from harness.cli.run_command import build_plan, print_interrupted
    from harness.cli.stderr_warnings import warn_of_data
    from harness.storage.store import Store
    from harness.workflow.suite_command import suite_command
    from harness.workflow.suite_execution import RunOptions, SuiteExecution
    from harness.workflow.suite_run import SuiteResult

    plan, host = build_plan(str(suite), (), ())
    if warn:
        warn_of_data(plan.data, plan.truncated, max_length="--max-length")
    store = Store(results / plan.spec.name)
    execution = SuiteExecution(plan, store, host, RunOptions(), suite_command(suite, (), (), results))
    with observer(len(execution.runs.missing), json_logs=False, quiet=False) as progress:
        executed = execution.execute([progress], print_status)
    outcome = executed.outcome
    print_failures(outcome)
    print_interrupted(outcome)
    if outcome.interrupted:
        raise KeyboardInterrupt
    if executed.error is not None:
        raise executed.error
    return SuiteResult(store.folder, outcome.failed, outcome.failures, outcome.interrupted, executed.report)


def _name(data: str) -> str:
    """A name for the task from that of the data file: ``my-reviews`` for ``my reviews.csv``."""
    stem = Path(data).resolve().name.partition(".")[0]
    name = "".join(char if char.isascii() and (char.isalnum() or char == "_") else "-" for char in stem)
    return name.strip("-_") or "data"


def _classes(pairs: Sequence[str]) -> dict[str, str]:
    parsed = {}
    for pair in pairs:
        value, equals, name = (part.strip() for part in pair.partition("="))
        if not equals or not value or not name:
            raise UserError(Problem(f"{pair!r} is not VALUE=NAME, such as 5=positive", "--class"))
        parsed[value] = name
    return parsed


def _validation(value: str) -> str | float:
    """A share of the data, or a file."""
    try:
        share = float(value)
    except ValueError:
        return value
    if not 0 < share < 1:
        raise UserError(Problem(f"{value} is not a share between 0 and 1, nor a file", "--validation"))
    return share
