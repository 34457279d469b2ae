"""Compares two results folders: settings, versions and machines, rows, scores, and results with the same key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.analysis import equal_results
from harness.analysis.compatibility import Result
from harness.analysis.folder_scores import ScoreDifference, compare_scores
from harness.analysis.speed_up import machine
from harness.analysis.summary import Summary
from harness.storage.hashing import ABSENT, Change, changes
from harness.storage.plan_file import PlanFile, PlannedRow
from harness.storage.records import RunRecord, TeacherRecord

MANY = "several values"
"""Shown for a part of keys whose values differ from run to run, such as the fingerprint of the data of each task."""


@dataclass(frozen=True)
class SettingDifference:
    """A setting with its values in two folders.

    Attributes:
        results: number of runs or teachers of both folders whose keys differ in it; 0 for a setting of the suite.
    """

    name: str
    first: str
    second: str
    results: int = 0


@dataclass(frozen=True)
class OwnRow:
    """A row that only one of the folders plans."""

    folder: str
    role: str
    label: str
    student: str


@dataclass(frozen=True)
class DifferentResult:
    """A key with different results in two folders."""

    kind: str
    key: str
    name: str
    difference: str


@dataclass(frozen=True)
class FolderComparison:
    """The differences of two results folders.

    Attributes:
        equal_keys: number of completed results with the same key.
        different: those of them that have different results.
        settings: of the suites, then parts of keys in which runs of the same cell differ.
        environment: packages, machines and code, where they differ.
    """

    first: Summary
    second: Summary
    settings: tuple[SettingDifference, ...]
    environment: tuple[SettingDifference, ...]
    own_rows: tuple[OwnRow, ...]
    equal_keys: int
    different: tuple[DifferentResult, ...]
    scores: tuple[ScoreDifference, ...]


def compare_folders(
    first: Summary, second: Summary, folder_of: tuple[Callable[[Result], Path], Callable[[Result], Path]]
) -> FolderComparison:
    """Compare two summaries. `folder_of`: the folder of a result in each results folder.

    Raises:
        UserError: predictions cannot be read.
    """
    both = [(one, other) for one, other in _common(first, second) if one.key == other.key]
    different = [found for one, other in both if (found := _different(one, other, folder_of))]
    return FolderComparison(
        first=first,
        second=second,
        settings=(*_plan_settings(first.plan, second.plan), *_key_parts(first, second)),
        environment=tuple(_environment(first, second)),
        own_rows=tuple(_own_rows(first, second)),
        equal_keys=len(both),
        different=tuple(different),
        scores=tuple(compare_scores(first, second)),
    )


def _plan_settings(first: PlanFile, second: PlanFile) -> list[SettingDifference]:
    shared = {label for label in first.rows if label in second.rows}
    models = {name for name in first.shapes if name in second.shapes}
    tasks = {task.name for task in first.tasks} & {task.name for task in second.tasks}
    one, other = (_described(plan, tasks, models, shared) for plan in (first, second))
    return [_setting(change) for change in changes(one, other)]


def _described(plan: PlanFile, tasks: set[str], models: set[str], labels: set[str]) -> dict[str, Any]:
    """The settings of a suite that its plan contains; of the tasks, models and rows, those that both plans have."""
    budget = plan.tuning.model_dump(exclude={"studies"}) if plan.tuning else None
    return {
        "suite": plan.suite,
        "tasks": [task.name for task in plan.tasks],
        "teachers": [*plan.teachers, *plan.assistants],
        "students": plan.students,
        "methods": plan.labels,
        "seeds": plan.seeds,
        "training": {"limit": plan.limits or None},
        "tuning": budget,
        "latency": plan.latency.model_dump(mode="json") if plan.latency else None,
        "task": {task.name: task.model_dump(exclude={"name"}) for task in plan.tasks if task.name in tasks},
        "model": {name: shape.model_dump() for name, shape in plan.shapes.items() if name in models},
        "row": {label: _row(row) for label, row in plan.rows.items() if label in labels},
    }


def _row(row: PlannedRow) -> dict[str, Any]:
    return row.model_dump(exclude={"entry", "plain"})


def _setting(change: Change, results: int = 0) -> SettingDifference:
    return SettingDifference(change.path, change.old, change.new, results)


def _key_parts(first: Summary, second: Summary) -> Iterable[SettingDifference]:
    """The parts in which the keys of runs and teachers of the same cell differ, with the number of these."""
    found: dict[str, Counter[tuple[str, str]]] = {}
    for one, other in _common(first, second):
        if one.key != other.key:
            prefix = "teacher " if isinstance(one, TeacherRecord) else ""
            for path, old, new in changes(one.parts, other.parts):
                found.setdefault(prefix + path, Counter())[old, new] += 1
    for path, counts in sorted(found.items()):
        old, new = _only(old for old, _ in counts), _only(new for _, new in counts)
        yield SettingDifference(path, old, new, counts.total())


def _only(values: Iterable[str]) -> str:
    """The value that all are equal to, or `MANY`."""
    distinct = {*values}
    return distinct.pop() if len(distinct) == 1 else MANY


def _common(first: Summary, second: Summary) -> Iterable[tuple[Result, Result]]:
    """The completed results of the same cell and seed in both folders."""
    ours, theirs = _by_place(first), _by_place(second)
    return [(result, theirs[place]) for place, result in ours.items() if place in theirs]


def _by_place(summary: Summary) -> dict[tuple[object, ...], Result]:
    """Place on the board, with the seed -> result."""
    plan, results = summary.plan, {result.key: result for result in summary.results}
    places: dict[tuple[object, ...], Result] = {}
    for run in plan.runs:
        if run.key in results:
            places["run", run.task, run.label, run.student, run.seed] = results[run.key]
    for name, by_task in plan.teachers.items():
        for task in by_task:
            for seed, key in plan.teacher_keys(name, task).items():
                if key in results:
                    places["teacher", task, name, seed] = results[key]
    return places


def _environment(first: Summary, second: Summary) -> Iterable[SettingDifference]:
    ours, theirs = (_environments(summary.results) for summary in (first, second))
    for name in dict.fromkeys([*ours, *theirs]):
        one, other = ("; ".join(sorted(found.get(name, set()))) or ABSENT for found in (ours, theirs))
        if one != other:
            yield SettingDifference(name, one, other)


def _environments(results: Iterable[Result]) -> dict[str, set[str]]:
    """Machine, package or code -> its values in the results."""
    values: dict[str, set[str]] = {}
    for origin in (result.provenance for result in results):
        values.setdefault("machine", set()).add(machine(origin.hardware))
        for name, version in sorted(origin.packages.items()):
            values.setdefault("kd-harness" if name == "harness" else name, set()).add(version)
        commit = origin.git_commit[:12] + " with changes" * bool(origin.git_dirty) if origin.git_commit else "none"
        values.setdefault("git commit", set()).add(commit)
    return values


def _own_rows(first: Summary, second: Summary) -> Iterable[OwnRow]:
    names = [{(row.role, row.label, row.student) for row in summary.rows} for summary in (first, second)]
    for folder, summary, other in (("first", first, names[1]), ("second", second, names[0])):
        for row in summary.rows:
            if row.role != "constant" and (row.role, row.label, row.student) not in other:
                yield OwnRow(folder, row.role, row.label, row.student)


def _different(
    one: Result, other: Result, folder_of: tuple[Callable[[Result], Path], Callable[[Result], Path]]
) -> DifferentResult | None:
    difference = equal_results.of_results(one, folder_of[0](one), other, folder_of[1](other))
    if difference is None:
        return None
    if isinstance(one, RunRecord):
        return DifferentResult("run", one.key, f"{one.label} on {one.student}, {one.task}, seed {one.seed}", difference)
    return DifferentResult("teacher", one.key, f"{one.name} on {one.task}", difference)
