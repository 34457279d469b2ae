"""What must hold before results may stand on one board."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.errors import Problem, UserError
from harness.results.records import PlanFile, RunRecord, TeacherRecord
from harness.results.store import Store

Result = RunRecord | TeacherRecord


def refuse_mixes(store: Store, plan: PlanFile, results: Sequence[Result]) -> None:
    """All results of a task scored the same examples with the same metrics; else a `UserError` names the records."""
    problems: list[Problem] = []
    for task in plan.tasks:
        of_task = [result for result in results if result.task == task.name]
        for what, value in (
            ("different examples", lambda r: f"data_fingerprint {r.data_fingerprint}"),
            ("different metrics", lambda r: f"metrics {', '.join(sorted(r.metrics)) or 'none'}"),
        ):
            groups = _grouped(of_task, value)
            if len(groups) > 1:
                problems.append(_problem(store, task.name, what, groups))
    if problems:
        raise UserError(*problems)


def _grouped(results: Sequence[Result], value: Callable[[Result], str]) -> dict[str, list[Result]]:
    """Results by value, the rarest value first: it is likely the one that does not belong."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(value(result), []).append(result)
    return dict(sorted(groups.items(), key=lambda item: (len(item[1]), item[0])))


def _problem(store: Store, task: str, what: str, groups: dict[str, list[Result]]) -> Problem:
    lines = [f"results of {task} scored {what}, so they cannot stand on one board; the board is left as it was."]
    for value, results in groups.items():
        lines.append(f"  {value}, {len(results)} of {sum(map(len, groups.values()))}:")
        lines += [f"    {result.key}  {_path(store, result)}" for result in results]
    lines.append("  Delete the folders of those that do not belong, and run the suite again.")
    return Problem("\n".join(lines), str(store.folder))


def _path(store: Store, result: Result) -> str:
    return str(store.folder_of(result) / "record.json")
