"""Select a part of a suite's runs: `--only task=sst2 --only seed=1`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from harness.api.errors import Problem, UserError, nearest
from harness.planning.jobs import RunJob
from harness.storage.plan_file import PlannedRun

COLUMNS = ("task", "label", "method", "student", "seed", "key")

Selection = Mapping[str, frozenset[str]]
"""Column -> allowed values. A run is selected if it has an allowed value in each column."""


def parse(conditions: Iterable[str], runs: Sequence[RunJob]) -> dict[str, frozenset[str]]:
    """Parse conditions of the form ``column=value``. Several values of one column are alternatives.

    Raises:
        UserError: a column does not exist, or no run has the value.
    """
    selection: dict[str, frozenset[str]] = {}
    problems = []
    for condition in conditions:
        column, equals, value = condition.partition("=")
        values = {_value(job.planned, column) for job in runs} if column in COLUMNS else set()
        if not equals or column not in COLUMNS:
            problems.append(Problem(f"{condition!r} is not COLUMN=VALUE; {nearest(column, COLUMNS)}", "--only"))
        elif value not in values:
            problems.append(Problem(f"no run of the suite has {column} {value!r}; {nearest(value, values)}", "--only"))
        else:
            selection[column] = selection.get(column, frozenset()) | {value}
    if problems:
        raise UserError(*problems)
    return selection


def select(runs: Iterable[RunJob], selection: Selection) -> list[RunJob]:
    """Return the selected runs, in order; all if `selection` is empty."""
    return [job for job in runs if all(_value(job.planned, column) in allowed for column, allowed in selection.items())]


def to_train(missing: Sequence[RunJob], selection: Selection) -> list[RunJob]:
    """Return the selected runs of `missing` and those that they learn from, directly or not, in order.

    The runs that a tuned row is tuned with are among them.
    """
    selected = select(missing, selection)
    by_key = {job.planned.key: job for job in missing}
    needed: set[str] = set()
    waiting = selected
    while waiting:
        teachers = [
            teacher for job in waiting for teacher in (*job.teachers, *(job.first.teachers if job.space else ()))
        ]
        added = {teacher.key for teacher in teachers if teacher.run is not None} & by_key.keys() - needed
        needed |= added
        waiting = [by_key[key] for key in added]
    chosen = set(map(id, selected))  # a run that is not selected may have the key of one that is
    keys = {job.planned.key for job in selected}
    return [job for job in missing if id(job) in chosen or job.planned.key in needed - keys]


def _value(run: PlannedRun, column: str) -> str:
    return str(getattr(run, column))
