"""Exports the best student of a suite within limits, or one run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.analysis import best_students
from harness.analysis.aggregate import summarize
from harness.analysis.best_students import Limits
from harness.api.errors import Problem, UserError, nearest
from harness.export import model_card, model_folder, onnx_files
from harness.export.model_card import CardFacts
from harness.export.model_folder import ModelFiles
from harness.storage.planned_names import named_as
from harness.storage.run_lookup import StoredRun, find_run, find_store
from harness.storage.store import Store


@dataclass(frozen=True)
class Exported:
    """An exported student.

    Attributes:
        folder: the folder of the model.
        facts: the run, and why it was selected.
        files: what was written.
    """

    folder: Path
    facts: CardFacts
    files: ModelFiles


def export_student(
    name: str | Path,
    to: str | Path,
    *,
    results: str | Path = "results",
    task: str | None = None,
    label: str | None = None,
    student: str | None = None,
    seed: int | None = None,
    max_seconds: float | None = None,
    max_parameters: int | None = None,
    onnx: bool = False,
    int8: bool = False,
    trust_remote_code: bool = False,
) -> Exported:
    """Export the best student of a suite within limits, or one run, as a folder that works without the harness.

    Args:
        name: a suite that has been run (its name, file or results folder), or the key of a run or its beginning.
        to: the folder to write; it must not exist, or be empty.
        results: the results folder.
        task: the task of the suite; needed if it has several.
        label: only rows of this method.
        student: only this student.
        seed: the run with this seed; by default the best on held-out data, else the first.
        max_seconds: largest median latency.
        max_parameters: largest number of parameters.
        onnx: whether to add the model in ONNX format, in float32.
        int8: whether to add it in int8.
        trust_remote_code: whether to run Python code that the student has from its teacher's checkpoint.

    Raises:
        harness.UserError: nothing has that name, nothing is within the limits, `to` is not empty, or a package for ONNX
            is missing.
    """
    folder = Path(to)
    model_folder.refuse_occupied(folder)
    if (onnx or int8) and (missing := onnx_files.missing_packages()):
        raise UserError(Problem(missing, "--onnx" if onnx else "--int8"))
    backends = ("onnx-int8", "onnx") if int8 else ("onnx",) if onnx else ()
    limits = Limits(label, student, seed, max_parameters, max_seconds, backends)
    facts = facts_of(str(name), Path(results), task, limits)
    return write(facts, folder, onnx=onnx, int8=int8, trust_remote_code=trust_remote_code)


def write(
    facts: CardFacts, folder: Path, *, onnx: bool = False, int8: bool = False, trust_remote_code: bool = False
) -> Exported:
    """Export the run of `facts` with its card to `folder`, which must not exist, or be empty."""

    def card(files: ModelFiles) -> str:
        return model_card.text(facts, files)

    files = model_folder.write(facts.run, folder, card, onnx=onnx, int8=int8, trust_remote_code=trust_remote_code)
    return Exported(folder, facts, files)


def facts_of(name: str, results: Path, task: str | None, limits: Limits) -> CardFacts:
    """The run that the arguments select, and what is known about it. Raises `UserError` as `export_student`."""
    store = find_store(_suite_name(name), results)
    if store is not None:
        return best_of(store, task, limits)
    run = find_run(name, results)
    if run is None:
        raise UserError(_unknown(name, results))
    selecting = {
        "--task": task,
        "--label": limits.label,
        "--student": limits.student,
        "--seed": limits.seed,
        "--max-latency": limits.seconds,
        "--max-params": limits.parameters,
    }
    if given := [option for option, value in selecting.items() if value is not None]:
        raise UserError(Problem(f"{', '.join(given)} cannot be used with a run: {name!r} is one", "export"))
    return _named(run)


def best_of(store: Store, task: str | None, limits: Limits) -> CardFacts:
    """The best run of a suite within the limits. Raises `UserError` if there is none."""
    summary = summarize(store)
    planned = best_students.task_named(summary, task)
    choice = best_students.choose(summary, planned, limits)
    return CardFacts(summary, StoredRun(store, choice.run), planned, choice.best, choice, limits)


def _suite_name(name: str) -> str:
    """The name in a suite file; other names are returned unchanged."""
    if not name.endswith((".yaml", ".yml")):
        return name
    from harness.config.includes import suite_name

    return suite_name(name)


def _named(run: StoredRun) -> CardFacts:
    if run.task is None:
        where = str(run.store.run_folder(run.record.key))
        raise UserError(Problem(f"its task {run.record.task!r} is not in the plan of the suite (plan.json)", where))
    summary = summarize(run.store)
    planned = next((one for one in summary.plan.runs if one.key == run.record.key), None)
    if planned is None:
        return CardFacts(summary, run, run.task)
    rows = best_students.candidates(summary, run.task)
    row = next((row for row in rows if run.record.key in {one.key for one in row.runs}), None)
    return CardFacts(summary, StoredRun(run.store, named_as(planned, run.record)), run.task, row)


def _unknown(name: str, results: Path) -> Problem:
    suites = [path.parent.name for path in results.glob("*/plan.json")]
    message = f"there is no results folder of a suite {name!r} below {results}, and no run whose key starts with it"
    remedy = nearest(name, suites) if suites else "`harness run SUITE` trains one; --results names another folder"
    return Problem(f"{message}; {remedy}", "export")
