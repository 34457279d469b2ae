"""What must hold before results may stand on one board."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from harness.errors import Problem, UserError
from harness.results.records import PlanFile, PlannedTask, RunRecord, TeacherRecord
from harness.results.store import Store

Result = RunRecord | TeacherRecord

ANOTHER = "a score that is not the task's"


def refuse_mixes(store: Store, plan: PlanFile, results: Sequence[Result]) -> None:
    """All results of a task scored the same examples with the same metrics; else a `UserError` names the records."""
    problems: list[Problem] = []
    for task in plan.tasks:
        of_task = [result for result in results if result.task == task.name]
        for what, value in (
            ("different examples", lambda r: f"data_fingerprint {r.data_fingerprint}"),
            ("different metrics", lambda r: f"metrics {', '.join(sorted(r.metrics)) or 'none'}"),
            ("by another metric", partial(_scored_by, task)),
        ):
            groups = _grouped(of_task, value)
            if len(groups) > 1 or ANOTHER in groups:
                problems.append(_problem(store, f"results of {task.name} scored {what}", groups))
    if problems:
        raise UserError(*problems)


def _scored_by(task: PlannedTask, result: Result) -> str:
    """Whether the score is what the task names now, or the mean of it over its validation splits. A task may have been
    changed since."""
    own = [value for name, value in result.metrics.items() if name == task.score]
    values = own or [value for name, value in result.metrics.items() if name.endswith(f"_{task.score}")]
    mean = math.fsum(values) / len(values) if values else math.nan
    undefined = result.score is not None and math.isnan(result.score) and math.isnan(mean)
    if result.score is None or not values or undefined or math.isclose(result.score, mean, rel_tol=1e-9):
        return f"score {task.score}"
    return ANOTHER


def refuse_budgets(store: Store, plan: PlanFile, results: Sequence[Result]) -> None:
    """All runs were tuned with as many trials, but for rows that have nothing to tune; else a `UserError` names the
    records."""
    studies = plan.tuning.studies if plan.tuning else []
    idle = {(study.task, study.label, study.student) for study in studies if study.key is None}
    runs = [r for r in results if isinstance(r, RunRecord) and (r.tuning or (r.task, r.label, r.student) not in idle)]
    budgets = {run.key: run.tuning.trials if run.tuning else 0 for run in runs}
    groups = _grouped(runs, lambda run: f"{budgets[run.key]} trials")
    if len(groups) > 1:
        raise UserError(_problem(store, "results were tuned with unequal budgets", groups))


def _grouped(results: Iterable[Result], value: Callable[[Result], str]) -> dict[str, list[Result]]:
    """Results by value, the rarest value first: it is likely the one that does not belong."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(value(result), []).append(result)
    return dict(sorted(groups.items(), key=lambda item: (len(item[1]), item[0])))


def _problem(store: Store, what: str, groups: dict[str, list[Result]]) -> Problem:
    lines = [f"{what}, so they cannot stand on one board; the board is left as it was."]
    for value, results in groups.items():
        lines.append(f"  {value}, {len(results)} of {sum(map(len, groups.values()))}:")
        lines += [f"    {result.key}  {_path(store, result)}" for result in results]
    lines.append("  Delete the folders of those that do not belong, and run the suite again.")
    return Problem("\n".join(lines), str(store.folder))


def _path(store: Store, result: Result) -> str:
    return str(store.folder_of(result) / "record.json")
