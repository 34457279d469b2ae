"""Checks that results are comparable before they are put on one board."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from harness.api.errors import Problem, UserError
from harness.storage.plan_file import PlanFile, PlannedTask
from harness.storage.records import RunRecord, TeacherRecord
from harness.storage.store import Store

Result = RunRecord | TeacherRecord

R = TypeVar("R", RunRecord, Result)

OTHER_METRIC = "a score that is not the task's metric"

PLANNED_TEACHERS, OTHER_TEACHERS = "the teachers of the plan", "other teachers"


def refuse_incomparable(store: Store, plan: PlanFile, results: Sequence[Result]) -> None:
    """Check that planned results can be on one board.

    Raises:
        UserError: they cannot; the message lists the records by group.
    """
    refuse_other_tasks(store, plan, results)
    refuse_mixes(store, plan, results)
    refuse_unequal_budgets(store, plan, results)
    refuse_other_teachers(store, plan, results)


def refuse_mixes(store: Store, plan: PlanFile, results: Sequence[Result]) -> None:
    """Check that all results of a task scored the same examples with the same metrics.

    Raises:
        UserError: they did not; the message lists the records by group.
    """
    problems: list[Problem] = []
    for task in plan.tasks:
        task_results = [result for result in results if result.task == task.name]
        for difference, value in (
            ("different examples", lambda r: f"data_fingerprint {r.data_fingerprint}"),
            ("different metrics", lambda r: f"metrics {', '.join(sorted(r.metrics)) or 'none'}"),
            ("by another metric", partial(_scored_by, task)),
        ):
            groups = _grouped(task_results, value)
            if len(groups) > 1 or OTHER_METRIC in groups:
                problems.append(_problem(store, f"results of {task.name} scored {difference}", groups))
    if problems:
        raise UserError(*problems)


def refuse_other_tasks(store: Store, plan: PlanFile, results: Sequence[Result]) -> None:
    """Check that every result is on the task that the plan names for its key.

    Raises:
        UserError: a result is not; the message lists the records.
    """
    planned = {key: task for by_task in plan.teachers.values() for task, keys in by_task.items() for key in keys}
    planned |= {run.key: run.task for run in plan.runs}
    if wrong := [result for result in results if result.task != planned[result.key]]:
        raise UserError(_problem(store, "results are on other tasks than the plan names", {"other tasks": wrong}))


def _scored_by(task: PlannedTask, result: Result) -> str:
    """``score accuracy`` if the score is the task's metric or its mean over the validation splits, else `OTHER_METRIC`.

    It differs if the definition of the task has changed since the result was stored.
    """
    exact = [value for name, value in result.metrics.items() if name == task.score]
    values = exact or [value for name, value in result.metrics.items() if name.endswith(f"_{task.score}")]
    mean = math.fsum(values) / len(values) if values else math.nan
    undefined = result.score is not None and math.isnan(result.score) and math.isnan(mean)
    if result.score is None or not values or undefined or math.isclose(result.score, mean, rel_tol=1e-9):
        return f"score {task.score}"
    return OTHER_METRIC


def refuse_unequal_budgets(store: Store, plan: PlanFile, results: Sequence[Result]) -> None:
    """Check that all runs were tuned with the same number of trials. Rows without a tunable option are exempt.

    Raises:
        UserError: they were not; the message lists the records by group.
    """
    studies = plan.tuning.studies if plan.tuning else []
    exempt = {(study.task, study.label, study.student) for study in studies if study.key is None}
    runs = [r for r in results if isinstance(r, RunRecord) and (r.tuning or (r.task, r.label, r.student) not in exempt)]
    budgets = {run.key: run.tuning.trials if run.tuning else 0 for run in runs}
    groups = _grouped(runs, lambda run: f"{budgets[run.key]} trials")
    if len(groups) > 1:
        raise UserError(_problem(store, "results were tuned with unequal budgets", groups))


def refuse_other_teachers(store: Store, plan: PlanFile, results: Sequence[Result]) -> None:
    """Check that every run was trained with the teachers that the plan names for its seed.

    So a board never mixes runs that share one teacher with runs that have one teacher per seed.

    Raises:
        UserError: a run was not; the message lists the records by group.
    """
    planned = {run.key: [plan.teacher_key(name, run.task, run.seed) for name in run.teachers] for run in plan.runs}
    # Old records may not state their teachers.
    runs = [result for result in results if isinstance(result, RunRecord) and "teachers" in result.parts]
    groups = _grouped(runs, lambda r: PLANNED_TEACHERS if r.parts["teachers"] == planned[r.key] else OTHER_TEACHERS)
    if OTHER_TEACHERS in groups:
        raise UserError(_problem(store, "runs have other teachers than the plan names for their seeds", groups))


def _grouped(results: Iterable[R], value: Callable[[R], str]) -> dict[str, list[R]]:
    """Group results by value, the rarest value first, because that is most likely the wrong one."""
    groups: dict[str, list[R]] = {}
    for result in results:
        groups.setdefault(value(result), []).append(result)
    return dict(sorted(groups.items(), key=lambda item: (len(item[1]), item[0])))


def _problem(store: Store, difference: str, groups: Mapping[str, Sequence[Result]]) -> Problem:
    lines = [f"{difference}, so they are not comparable; the existing report was not changed."]
    for value, results in groups.items():
        lines.append(f"  {value}, {len(results)} of {sum(map(len, groups.values()))}:")
        lines += [f"    {result.key}  {_path(store, result)}" for result in results]
    lines.append("  Delete the folders of the wrong results and run the suite again.")
    return Problem("\n".join(lines), str(store.folder))


def _path(store: Store, result: Result) -> str:
    return str(store.folder_of(result) / "record.json")
