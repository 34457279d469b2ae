"""The union of the plans of several results folders: what a merged board requests.

Rows, students, tasks and seeds of all plans are united; what has the same name must be the same. The runs of a task, a
column of the board, have the same keys in all plans that contain them, or they are all taken from one plan.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from harness.api.errors import Problem, UserError
from harness.config.latency_schema import LatencySpec
from harness.storage.hashing import differences
from harness.storage.plan_file import (
    NotApplicable,
    PlanFile,
    PlannedGeneral,
    PlannedRow,
    PlannedRun,
    PlannedTask,
    PlannedTuning,
    TruncatedTexts,
)
from harness.workflow.plan_columns import PlanColumn, PlanSource, cell_of, conflict, listed

Prefer = Literal["first", "last"]

Value = TypeVar("Value")

OWN_OPTIONS = ("--only", "--results")
"""Options of `harness run` that are not part of what the suite is: where the results go and, in plans of older
versions, which part was trained."""

REMEDY = "give both folders the same suite, versions, device and number of threads, or choose with --prefer first|last"


@dataclass(frozen=True)
class UnitedPlan:
    """The united plan, and what was decided by preference, one line each."""

    plan: PlanFile
    decisions: tuple[str, ...]


def union(sources: Sequence[PlanSource], target: Path, prefer: Prefer | None = None) -> UnitedPlan:
    """Unite the plans of `sources`.

    Args:
        target: the results folder of the united plan.
        prefer: if plans have different keys for the runs of a task, take its column from the first or the last source
            that has results of it. Different latency settings are chosen likewise.

    Raises:
        UserError: the plans contradict each other; one problem for each contradiction.
    """
    return _Uniting(sources, target, prefer).result()


class _Uniting:
    """Unites plans and collects the contradictions between them."""

    def __init__(self, sources: Sequence[PlanSource], target: Path, prefer: Prefer | None) -> None:
        self.sources, self.target, self.prefer = sources, target, prefer
        self.plans = [source.plan for source in sources]
        self.problems: list[Problem] = []
        self.decisions: list[str] = []
        self.seeds = self._seeds()

    def result(self) -> UnitedPlan:
        plans, tasks = self.plans, self._tasks()
        columns = [column for task in tasks for column in self._columns(task.name)]
        fields: dict[str, Any] = {
            "suite": self._suite(),
            "command": self._command(),
            "tasks": [_as_in_columns(task, [c for c in columns if c.task == task.name]) for task in tasks],
            "students": _distinct(name for plan in plans for name in plan.students),
            "labels": _distinct(label for plan in plans for label in plan.labels),
            "teachers": self._teachers(columns),
            "assistants": self._same("teacher", [plan.assistants for plan in plans]),
            "seeds": self.seeds,
            "runs": self._runs(columns),
            "not_applicable": self._not_applicable(columns),
            "limits": self._setting("training.limit", [plan.limits for plan in plans]),
            "citations": {name: text for plan in reversed(plans) for name, text in plan.citations.items()},
            "generals": self._generals(),
            "latency": self._latency(),
            "published": _distinct(figure for plan in plans for figure in plan.published),
            "rows": self._rows(),
            "shapes": self._same("architecture of", [plan.shapes for plan in plans]),
            "tuning": self._tuning(columns),
        }
        if self.problems:
            raise UserError(*self.problems)
        return UnitedPlan(PlanFile.model_validate(fields), tuple(self.decisions))

    def _suite(self) -> str:
        names = {plan.suite for plan in self.plans}
        return names.pop() if len(names) == 1 else self.target.absolute().name

    def _command(self) -> str:
        """The commands of the plans without `OWN_OPTIONS`, and with the results folder if it is not the default."""
        commands = (_without_own_options(part) for plan in self.plans for part in plan.command.split("; "))
        found = self.target.name == self._suite() and self.target.parent != Path("results")
        results = f" --results {shlex.quote(str(self.target.parent))}" if found else ""
        return "; ".join(command + results * command.startswith("harness run ") for command in dict.fromkeys(commands))

    def _seeds(self) -> list[int]:
        """The seeds of all plans: in their order if it is the same for all, else ascending."""
        orders = _distinct(plan.seeds for plan in self.plans)
        return orders[0] if len(orders) == 1 else sorted({seed for order in orders for seed in order})

    def _tasks(self) -> list[PlannedTask]:
        """The tasks, without what depends on the columns: see `_as_in_columns`."""
        bare: dict[str, object] = {"data_fingerprint": None, "truncated": []}
        by_plan = [{task.name: task.model_copy(update=bare) for task in plan.tasks} for plan in self.plans]
        return list(self._same("task", by_plan).values())

    def _columns(self, task: str) -> list[PlanColumn]:
        """What the plans request for a task; of a single plan if they contradict each other."""
        columns = [column for source in self.sources if (column := PlanColumn.of(source, task))]
        found = conflict(columns)
        if found is None:
            return columns
        if self.prefer is None:
            self.problems.append(Problem(f"{found}; {REMEDY}", f"task {task}"))
            return []
        order = columns if self.prefer == "first" else columns[::-1]
        chosen = next((column for column in order if column.source.has_results(task)), order[0])
        self.decisions.append(f"task {task}: {found}; the column is that of {chosen.source.folder}")
        return [chosen]

    def _teachers(self, columns: Sequence[PlanColumn]) -> dict[str, dict[str, list[str]]]:
        """Teacher -> task -> keys, in the order of the plans."""
        teachers: dict[str, dict[str, list[str]]] = {name: {} for plan in self.plans for name in plan.teachers}
        for name, by_task in teachers.items():
            for task in dict.fromkeys(column.task for column in columns if name in column.teachers):
                by_plan = [
                    column.teachers[name] for column in columns if column.task == task and name in column.teachers
                ]
                by_task[task] = self._teacher_keys(f"teacher {name}", by_plan)
        return teachers

    def _teacher_keys(self, teacher: str, by_plan: Iterable[Mapping[int, str]]) -> list[str]:
        """One key if the runs of all seeds share the teacher, else one for each seed."""
        keys = {seed: key for by_seed in by_plan for seed, key in by_seed.items()}
        if len({*keys.values()}) == 1:
            return [*{*keys.values()}]
        if missing := ", ".join(str(seed) for seed in self.seeds if seed not in keys):
            self.problems.append(Problem(f"each seed has its own, but no folder plans that of seed {missing}", teacher))
        return [keys[seed] for seed in self.seeds if seed in keys]

    def _runs(self, columns: Sequence[PlanColumn]) -> list[PlannedRun]:
        """All runs, in the order of the plans."""
        runs = {cell: run for column in columns for cell, run in column.runs.items()}
        rows = dict.fromkeys(cell[:3] for cell in runs)
        missing = [row for row in rows if any((*row, seed) not in runs for seed in self.seeds)]
        if missing:
            named = listed(f"{label} on {student}, {task}" for task, label, student in missing)
            seeds = ", ".join(map(str, self.seeds))
            remedy = "folders with different seeds must have the same rows, students and tasks"
            self.problems.append(Problem(f"these are not planned for all seeds ({seeds}): {named}; {remedy}", "seeds"))
        order = dict.fromkeys(cell_of(run) for plan in self.plans for run in plan.runs)
        return [runs[cell] for cell in order if cell in runs]

    def _not_applicable(self, columns: Sequence[PlanColumn]) -> list[NotApplicable]:
        """The cells that cannot be computed, each once, without those that another plan has runs of."""
        trained = {cell[:3] for column in columns for cell in column.runs}
        cells = {(c.task, c.label, c.student): c for column in reversed(columns) for c in column.not_applicable}
        order = dict.fromkeys((c.task, c.label, c.student) for plan in self.plans for c in plan.not_applicable)
        return [cells[cell] for cell in order if cell in cells and cell not in trained]

    def _rows(self) -> dict[str, PlannedRow]:
        """The settings of each label. The labels of a grid keep a common entry; the tasks of `per_task` are united."""
        rows: dict[str, PlannedRow] = {}
        first: dict[str, int] = {}
        for number, plan in enumerate(self.plans):
            entries = _entries(rows, plan)
            for label, row in plan.rows.items():
                known, place = rows.get(label), first.setdefault(label, number)
                if known is None:
                    rows[label] = row.model_copy(update={"entry": entries[row.entry]})
                    continue
                tasks = known.per_task.keys() & row.per_task.keys()
                if found := differences(_settings(known, tasks), _settings(row, tasks)):
                    self._contradiction(f"row {label}", found, place, number)
                rows[label] = _united(known, row)
        return rows

    def _generals(self) -> list[PlannedGeneral]:
        generals: dict[str, PlannedGeneral] = {}
        for general in (general for plan in self.plans for general in plan.generals):
            known = generals.get(general.key, general)
            generals[general.key] = known.model_copy(update={"labels": _distinct([*known.labels, *general.labels])})
        return list(generals.values())

    def _latency(self) -> LatencySpec | None:
        given = [source for source in self.sources if source.plan.latency is not None]
        settings = _distinct(source.plan.latency for source in given)
        if len(settings) < 2:
            return settings[0] if settings else None
        chosen = given[-1 if self.prefer == "last" else 0]
        if self.prefer is None:
            named = ", ".join(str(source.folder) for source in given)
            self.problems.append(Problem(f"the settings differ in {named}; choose with --prefer first|last", "latency"))
        else:
            self.decisions.append(f"latency: the settings differ; the board shows those of {chosen.folder}")
        return chosen.plan.latency

    def _tuning(self, columns: Sequence[PlanColumn]) -> PlannedTuning | None:
        tunings = [plan.tuning for plan in self.plans]
        self._setting("tuning", [tuning and tuning.model_dump(exclude={"studies"}) for tuning in tunings])
        if tunings[0] is None:
            return None
        studies = {(s.task, s.label, s.student): s for column in reversed(columns) for s in column.studies}
        order = dict.fromkeys((s.task, s.label, s.student) for t in tunings if t for s in t.studies)
        return tunings[0].model_copy(update={"studies": [studies[cell] for cell in order if cell in studies]})

    def _same(self, what: str, by_plan: Sequence[Mapping[str, Value]]) -> dict[str, Value]:
        """The union of mappings in which values of the same name must be equal."""
        united: dict[str, tuple[int, Value]] = {}
        for number, values in enumerate(by_plan):
            for name, value in values.items():
                first, known = united.setdefault(name, (number, value))
                if known != value:
                    self._contradiction(f"{what} {name}", differences(_plain(known), _plain(value)), first, number)
        return {name: value for name, (_, value) in united.items()}

    def _setting(self, name: str, values: Sequence[Value]) -> Value:
        """A setting that must be equal in all plans."""
        different = next((number for number, value in enumerate(values) if value != values[0]), None)
        if different is not None:
            self._contradiction(name, differences(_plain(values[0]), _plain(values[different])), 0, different)
        return values[0]

    def _contradiction(self, what: str, found: Sequence[str], first: int, other: int) -> None:
        one, another = self.sources[first].folder, self.sources[other].folder
        self.problems.append(Problem(f"differs between {one} and {another}: {listed(found)}", what))


def _entries(rows: Mapping[str, PlannedRow], plan: PlanFile) -> dict[int, int]:
    """Entry of a plan -> entry of the union `rows`: that of a label which both have, else a new one."""
    entries = {row.entry: rows[label].entry for label, row in plan.rows.items() if label in rows}
    following = max((row.entry for row in rows.values()), default=-1) + 1
    for entry in sorted({row.entry for row in plan.rows.values()} - entries.keys()):
        entries[entry] = following
        following += 1
    return entries


def _united(row: PlannedRow, other: PlannedRow) -> PlannedRow:
    """A row of two plans, which may differ in their tasks."""
    return row.model_copy(
        update={
            "plain": row.plain and other.plain,
            "per_task": {**row.per_task, **other.per_task},
            "protocol": " or ".join(_distinct(text for text in (row.protocol, other.protocol) if text)),
        }
    )


def _as_in_columns(task: PlannedTask, columns: Sequence[PlanColumn]) -> PlannedTask:
    """The task with the examples of its columns, which have the same fingerprint (see `conflict`), and what they
    truncate."""
    fingerprints = (column.data_fingerprint for column in columns)
    truncated: dict[str, TruncatedTexts] = {}
    for entry in (entry for column in columns for entry in column.truncated):
        counts = entry.model_dump_json(exclude={"students"})
        known = truncated.setdefault(counts, entry)
        truncated[counts] = known.model_copy(update={"students": _distinct([*known.students, *entry.students])})
    return task.model_copy(
        update={"data_fingerprint": next(filter(None, fingerprints), None), "truncated": list(truncated.values())}
    )


def _settings(row: PlannedRow, tasks: Collection[str]) -> dict[str, Any]:
    """What must be equal in rows of the same label; of the settings for single tasks, those for `tasks`."""
    settings = row.model_dump(include={"method", "options", "stages", "teachers", "general"})
    return {**settings, "per_task": {task: row.per_task[task] for task in tasks}}


def _plain(value: object) -> dict[str, Any]:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return dict(value) if isinstance(value, Mapping) else {"value": value}


def _distinct(values: Iterable[Value]) -> list[Value]:
    """The values in order, each once. They need not be hashable."""
    found: list[Value] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def _without_own_options(command: str) -> str:
    """The command without `OWN_OPTIONS`; unchanged if it is not one of `harness run`."""
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    return shlex.join(_without(words, OWN_OPTIONS)) if words[:2] == ["harness", "run"] else command


def _without(words: Iterable[str], options: Collection[str]) -> Iterator[str]:
    """The words without the options and their values, which follow as the next word or after ``=``."""
    remaining = iter(words)
    for word in remaining:
        if word in options:
            next(remaining, None)
        elif word.partition("=")[0] not in options:
            yield word
