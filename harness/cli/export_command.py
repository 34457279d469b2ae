"""`harness export`: the best student of a suite, or one run, as a folder that works without the harness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import Problem, UserError, nearest
from harness.cli.command_setup import quiet_libraries
from harness.storage.run_lookup import StoredRun, find_run, find_store

if TYPE_CHECKING:
    from harness.analysis.best_students import Limits
    from harness.export.model_card import CardFacts
    from harness.export.model_folder import ModelFiles
    from harness.storage.store import Store


@dataclass(frozen=True)
class ExportOptions:
    """What to export: the task, limits as typed, and the ONNX files to add."""

    task: str | None = None
    label: str | None = None
    student: str | None = None
    seed: int | None = None
    max_latency: str | None = None
    max_params: str | None = None
    onnx: bool = False
    int8: bool = False

    @property
    def selects(self) -> list[str]:
        """The given options that select a run."""
        names = ("task", "label", "student", "seed", "max_latency", "max_params")
        return [f"--{name.replace('_', '-')}" for name in names if getattr(self, name) is not None]


def export_model(name: str, target: Path, results: Path, options: ExportOptions) -> None:
    """Export a run, or the best run of a suite, to `target`. Prints why it was selected, and the files.

    Raises:
        UserError: nothing has that name, nothing is within the limits, `target` is not empty, or a package is missing.
    """
    quiet_libraries()
    from harness.export import model_folder, onnx_files

    model_folder.refuse_occupied(target)
    if (options.onnx or options.int8) and (missing := onnx_files.missing_packages()):
        raise UserError(Problem(missing, "--onnx" if options.onnx else "--int8"))
    facts = facts_of(name, results, options)
    from harness.export import model_card

    files = model_folder.write(
        facts.run, target, lambda written: model_card.text(facts, written), onnx=options.onnx, int8=options.int8
    )
    print("\n".join(_lines(facts, files, target)))


def facts_of(name: str, results: Path, options: ExportOptions) -> CardFacts:
    """The run that `name` and the options select, and what is known about it. Raises `UserError` as `export_model`."""
    store = find_store(_suite_name(name), results)
    if store is not None:
        return _best(store, options)
    run = find_run(name, results)
    if run is None:
        raise UserError(_unknown(name, results))
    if options.selects:
        raise UserError(Problem(f"{', '.join(options.selects)} cannot be used with a run: {name!r} is one", "export"))
    return _named(run)


def _suite_name(name: str) -> str:
    """The name in a suite file; other names are returned unchanged."""
    if not name.endswith((".yaml", ".yml")):
        return name
    from harness.resolution import load

    return load(name).suite.spec.name


def _best(store: Store, options: ExportOptions) -> CardFacts:
    from harness.analysis import best_students
    from harness.analysis.aggregate import summarize
    from harness.export.model_card import CardFacts

    limits = limits_of(options)
    summary = summarize(store)
    task = best_students.task_named(summary, options.task)
    choice = best_students.choose(summary, task, limits)
    return CardFacts(summary, StoredRun(store, choice.run), task, choice.best, choice, limits)


def _named(run: StoredRun) -> CardFacts:
    from harness.analysis import best_students
    from harness.analysis.aggregate import summarize
    from harness.export.model_card import CardFacts

    if run.task is None:
        where = str(run.store.run_folder(run.record.key))
        raise UserError(Problem(f"its task {run.record.task!r} is not in the plan of the suite (plan.json)", where))
    summary = summarize(run.store)
    keys = {planned.key for planned in summary.plan.runs}
    rows = best_students.candidates(summary, run.task) if run.record.key in keys else []
    row = next((row for row in rows if run.record.key in {one.key for one in row.runs}), None)
    return CardFacts(summary, run, run.task, row)


def limits_of(options: ExportOptions) -> Limits:
    """The limits of the selection. Raises `UserError` for values that cannot be parsed."""
    from harness.analysis.best_students import Limits
    from harness.cli.quantities import count, seconds

    return Limits(
        label=options.label,
        student=options.student,
        seed=options.seed,
        parameters=None if options.max_params is None else count(options.max_params, "--max-params"),
        seconds=None if options.max_latency is None else seconds(options.max_latency, "--max-latency"),
        backends=("onnx-int8", "onnx") if options.int8 else ("onnx",) if options.onnx else (),
    )


def _unknown(name: str, results: Path) -> Problem:
    suites = [path.parent.name for path in results.glob("*/plan.json")]
    message = f"there is no results folder of a suite {name!r} below {results}, and no run whose key starts with it"
    remedy = nearest(name, suites) if suites else "`harness run SUITE` trains one; --results names another folder"
    return Problem(f"{message}; {remedy}", "export")


def _lines(facts: CardFacts, files: ModelFiles, target: Path) -> Iterator[str]:
    from harness.export import explanation

    record = facts.record
    yield f"{target}: {record.label} on {record.student}, task {record.task}, seed {record.seed}, run {record.key}"
    reasons: Sequence[str] = [
        *(explanation.why(facts.choice, facts.limits) if facts.choice else ()),
        *(explanation.against_teacher(facts.summary, facts.row, facts.task) if facts.row else ()),
    ]
    yield from (f"  {reason}" for reason in reasons)
    for file in files.onnx:
        agreement = "" if file.agreement is None else f", {100 * file.agreement:.1f} % equal predictions"
        yield f"  {file.path}: largest difference from PyTorch {file.deviation:.1e}{agreement}"
    yield "Files:"
    yield from (f"  {path}" for path in sorted(target.rglob("*")) if path.is_file())
