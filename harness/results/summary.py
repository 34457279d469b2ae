"""The numbers of a leaderboard: a pure function of the store, with nothing said yet about how they look."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Literal

from harness.errors import Problem, UserError
from harness.results.checks import Result, refuse_mixes
from harness.results.latency import SpeedUp, asked_for, speed_ups
from harness.results.records import GeneralRecord, ModelSize, PlanFile, PlannedRun, PlannedTask, RunRecord
from harness.results.store import Store
from harness.results.timings import LatencyRecord

State = Literal["complete", "missing", "failed", "not applicable"]

HIDDEN = "the labels of its examples are hidden, so nothing is scored; a run's predictions lie beside its record"


@dataclass(frozen=True)
class Statistic:
    """A mean over `n` seeds, and their standard deviation (with n - 1), which one seed has not."""

    mean: float
    std: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Statistic:
        std = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.fmean(values), std, len(values))


@dataclass(frozen=True)
class Cell:
    """One task in one row. `scores` (seed -> score, on the board's scale) is empty unless the cell is complete;
    `counts`: whether the task is part of the row's average."""

    state: State
    scores: Mapping[int, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    counts: bool = True

    @property
    def score(self) -> Statistic | None:
        return Statistic.of(list(self.scores.values())) if self.scores else None


@dataclass(frozen=True)
class Row:
    """A teacher, or a method on a student. What is None is not known, or not to be told of a row that is incomplete.

    `parameters` are the least and the most over the tasks, whose heads differ; `student_seconds` and `teacher_seconds`
    are sums over all runs of the row; `runs` are those planned, `completed` those done.
    """

    role: Literal["teacher", "student"]
    label: str
    student: str
    cells: Mapping[str, Cell]
    runs: int
    completed: int
    average: Statistic | None = None
    rank: int | None = None
    parameters: tuple[int, int] | None = None
    compression: float | None = None
    student_seconds: float | None = None
    teacher_seconds: float | None = None

    @property
    def status(self) -> Literal["complete", "incomplete", "not applicable"]:
        cells = self.cells.values()
        if any(cell.state in ("missing", "failed") for cell in cells):
            return "incomplete"
        return "not applicable" if any(c.counts and c.state == "not applicable" for c in cells) else "complete"


@dataclass(frozen=True)
class Beaten:
    """A student without a teacher that scores better than a teacher, on one task."""

    task: str
    label: str
    student: str
    score: float
    teacher: str
    teacher_score: float


@dataclass(frozen=True)
class Summary:
    """A board in numbers. `results` are those it is made of; `others` counts records that the plan does not ask for;
    `latencies` are the measurements that the plan asks for, one of each machine, and `speed_ups` their columns;
    `generals` the stages on unlabelled text that are done."""

    plan: PlanFile
    teachers: tuple[Row, ...]
    students: tuple[Row, ...]
    beaten: tuple[Beaten, ...]
    results: tuple[Result, ...]
    others: int
    speed_ups: tuple[SpeedUp, ...] = ()
    latencies: tuple[LatencyRecord, ...] = ()
    generals: tuple[GeneralRecord, ...] = ()


def scale(task: PlannedTask) -> int:
    """What a score is multiplied by, so that all are from 0 to 100."""
    return 1 if task.percent else 100


def _hidden(result: Result | None) -> bool:
    """Whether the result is there and nothing in it is scored: the labels of its examples are hidden."""
    return result is not None and result.score is None and not result.metrics


def hardware(result: Result) -> str:
    """The machine of a result, as far as it sets results apart."""
    return f"{result.provenance.hardware.device} {result.provenance.hardware.name}"


def summarize(store: Store) -> Summary:
    """The board of a store that has a plan.

    Raises:
        UserError: no plan, a file that cannot be read, or results of a task that scored different examples or metrics.
    """
    plan = store.plan()
    if plan is None:
        raise UserError(Problem("has no plan.json, so what belongs on a board is not known", str(store.folder)))
    records = {run.key: record for run in plan.runs if (record := store.record(run.key))}
    teacher_keys = {key for keys in plan.teachers.values() for key in keys.values()}
    taught = {key: teacher for key in sorted(teacher_keys) if (teacher := store.teacher(key))}
    done: dict[str, Result] = {key: record for key, record in records.items() if record.status == "completed"}
    done.update(taught)
    refuse_mixes(store, plan, list(done.values()))
    measured = store.latencies()
    rows = _Rows(plan, done, {key: r for key, r in records.items() if r.status == "failed"})
    teachers, students = tuple(rows.teacher(name) for name in plan.teachers), rows.students()
    return Summary(
        plan=plan,
        teachers=teachers,
        students=_in_order(plan, _ranked(plan, students)),
        beaten=tuple(_beaten(plan, teachers, students)),
        results=tuple(done[key] for key in sorted(done)),
        others=len(set(store.run_keys()) - {run.key for run in plan.runs}),
        speed_ups=speed_ups(plan, measured),
        latencies=tuple(asked_for(plan, measured)),
        generals=tuple(made for planned in plan.generals if (made := store.general(planned.key))),
    )


class _Rows:
    """Makes rows out of what is done and what has failed."""

    def __init__(self, plan: PlanFile, done: Mapping[str, Result], failed: Mapping[str, RunRecord]) -> None:
        self.plan, self.done, self.failed = plan, done, failed
        self.again = f"`{plan.command}` does only what is missing"
        counts = Counter(hardware(result) for result in done.values())
        self.usual = min(counts, key=lambda name: (-counts[name], name), default="")
        self.first_teacher = next(iter(plan.teachers), None)

    def teacher(self, name: str) -> Row:
        keys = self.plan.teachers[name]
        cells = {task.name: self._teacher_cell(task, keys.get(task.name)) for task in self.plan.tasks}
        return self._row(Row("teacher", name, "", cells, len(keys), 0), list(keys.values()))

    def students(self) -> list[Row]:
        """Every (label, student) that the plan knows, in the suite's order."""
        asked = {(run.label, run.student) for run in self.plan.runs}
        asked |= {(cell.label, cell.student) for cell in self.plan.not_applicable}
        pairs = [(label, name) for name in self.plan.students for label in self.plan.labels if (label, name) in asked]
        return [self._student(label, name) for label, name in pairs]

    def _student(self, label: str, student: str) -> Row:
        runs = [run for run in self.plan.runs if (run.label, run.student) == (label, student)]
        reasons = {c.task: c.reason for c in self.plan.not_applicable if (c.label, c.student) == (label, student)}
        cells = {
            task.name: self._student_cell(
                task,
                [run for run in runs if run.task == task.name],
                reasons.get(task.name, "the suite does not ask for it"),
            )
            for task in self.plan.tasks
        }
        return self._row(Row("student", label, student, cells, len(runs), 0), [run.key for run in runs])

    def _row(self, row: Row, keys: Sequence[str]) -> Row:
        """The row with its sums: sizes, costs, average."""
        counts = {task.name: not task.diagnostic for task in self.plan.tasks}
        row = replace(row, cells={name: replace(cell, counts=counts[name]) for name, cell in row.cells.items()})
        done = [self.done[key] for key in keys if key in self.done]
        sizes = {result.task: result.size for result in done}
        parameters = [size.parameters for size in sizes.values()]
        known = bool(done) and row.status != "incomplete"
        return replace(
            row,
            completed=len(done),
            average=_average(self.plan, row),
            parameters=(min(parameters), max(parameters)) if parameters else None,
            compression=self._compression(sizes),
            student_seconds=math.fsum(r.cost.student_seconds for r in done) if known else None,
            teacher_seconds=math.fsum(r.cost.teacher_seconds for r in done) if known else None,
        )

    def _compression(self, sizes: Mapping[str, ModelSize]) -> float | None:
        """How many times smaller than the suite's first teacher, over the tasks for which both are there."""
        keys = self.plan.teachers.get(self.first_teacher or "", {})
        both = [task for task in sizes if keys.get(task) in self.done]
        own = sum(sizes[task].parameters for task in both)
        return sum(self.done[keys[task]].size.parameters for task in both) / own if own else None

    def _teacher_cell(self, task: PlannedTask, key: str | None) -> Cell:
        if key is None:
            return Cell("not applicable", notes=("this teacher is not trained on this task",))
        if key not in self.done:
            return Cell("missing", notes=(f"not trained yet; {self.again}",))
        if _hidden(self.done[key]):
            return Cell("not applicable", notes=(HIDDEN,))
        score = self.done[key].score
        if score is None or not math.isfinite(score):
            return Cell("failed", notes=(f"its score is not a number (teachers/{key}/record.json)",))
        return Cell("complete", {0: score * scale(task)}, self._hardware_notes([self.done[key]]))

    def _student_cell(self, task: PlannedTask, runs: Sequence[PlannedRun], reason: str) -> Cell:
        if not runs:
            return Cell("not applicable", notes=(" ".join(reason.split()),))
        if all(_hidden(self.done.get(run.key)) for run in runs):
            return Cell("not applicable", notes=(HIDDEN,))
        missing = tuple(self._missing_notes(runs))
        failed = tuple(note for run in runs if (note := self._failed_note(run)))
        if missing or failed:
            return Cell("failed" if failed else "missing", notes=(*missing, *failed))
        results = {run.seed: self.done[run.key] for run in runs}
        scores = {seed: (result.score or 0.0) * scale(task) for seed, result in sorted(results.items())}
        return Cell("complete", scores, self._hardware_notes(results.values()))

    def _missing_notes(self, runs: Sequence[PlannedRun]) -> Iterable[str]:
        seeds = [str(run.seed) for run in runs if run.key not in self.done and run.key not in self.failed]
        if seeds:
            yield f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)} not run yet; {self.again}"

    def _failed_note(self, run: PlannedRun) -> str | None:
        """Also of a run that completed with a score that is none, such as a correlation with a constant."""
        where = f"runs/{run.key}/record.json"
        if run.key in self.failed:
            lines = (self.failed[run.key].error or "").strip().splitlines() or ["no error was recorded"]
            error = lines[0].replace("`", "'")
            return f"seed {run.seed} failed: `{error}` ({where}); {self.again}, and tries again what failed"
        result = self.done.get(run.key)
        if result is None or _hidden(result):
            return None
        score = result.score
        if score is None or not math.isfinite(score):
            return f"seed {run.seed} has no score that is a number ({where}); delete its folder, and {self.again}"
        return None

    def _hardware_notes(self, results: Iterable[Result]) -> tuple[str, ...]:
        unusual = sorted({hardware(result) for result in results} - {self.usual})
        return (f"trained on other hardware than most: {', '.join(unusual)}",) if unusual else ()


def _average(plan: PlanFile, row: Row) -> Statistic | None:
    """Over tasks, seed by seed, without the diagnostic ones. None where a cell is not complete, or where for some
    tasks less is better."""
    scores = [cell.scores for cell in row.cells.values() if cell.counts]
    if row.status != "complete" or not _comparable(plan) or len({tuple(by_seed) for by_seed in scores}) != 1:
        return None
    return Statistic.of([statistics.fmean(by_seed[seed] for by_seed in scores) for seed in scores[0]])


def _comparable(plan: PlanFile) -> bool:
    return len({task.higher_is_better for task in plan.tasks}) == 1


def _ranked(plan: PlanFile, rows: Sequence[Row]) -> list[Row]:
    """Ranks over all students. Averages that print the same share one."""
    sign = 1 if plan.tasks[0].higher_is_better else -1
    averages = [sign * round(row.average.mean, 1) for row in rows if row.average]
    return [
        replace(row, rank=1 + sum(other > sign * round(row.average.mean, 1) for other in averages))
        if row.average
        else row
        for row in rows
    ]


def _in_order(plan: PlanFile, rows: Sequence[Row]) -> tuple[Row, ...]:
    """The largest student first, then by rank; rows without one follow in the suite's order."""
    size = {
        name: max((r.parameters[1] for r in rows if r.student == name and r.parameters), default=0)
        for name in plan.students
    }
    return tuple(sorted(rows, key=lambda r: (-size[r.student], plan.students.index(r.student), r.rank or math.inf)))


def _beaten(plan: PlanFile, teachers: Sequence[Row], students: Sequence[Row]) -> Iterable[Beaten]:
    """Where the printed scores say so."""
    without = {run.label for run in plan.runs if not run.teachers}
    for task, row, teacher in product(plan.tasks, students, teachers):
        score, against = row.cells[task.name].score, teacher.cells[task.name].score
        if row.label in without and score and against:
            ahead = round(score.mean, 1) - round(against.mean, 1)
            if (ahead > 0) if task.higher_is_better else (ahead < 0):
                yield Beaten(task.name, row.label, row.student, score.mean, teacher.label, against.mean)
