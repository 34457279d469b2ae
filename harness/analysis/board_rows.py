"""The rows of a board: cells, average, sizes and costs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from harness.analysis import ranking
from harness.analysis.bootstrap import BootstrapResult
from harness.analysis.compatibility import Result
from harness.analysis.score_cells import ScoreCells
from harness.analysis.summary import BoardRow
from harness.storage.plan_file import PlanFile, PlannedRun
from harness.storage.records import ModelSize, RunRecord, TeacherRecord

CONSTANT = "constant answer"
"""Label of the row that gives one answer for every example."""


class BoardRows:
    """Builds the rows from completed and failed records. For the arguments see `ScoreCells`."""

    def __init__(
        self,
        plan: PlanFile,
        done: Mapping[str, Result],
        failed: Mapping[str, RunRecord],
        bootstraps: Mapping[str, BootstrapResult],
    ) -> None:
        self.plan, self.done = plan, done
        self.cells = ScoreCells(plan, done, failed, bootstraps)
        self.first_teacher = next(iter(plan.teachers), None)
        self.runs: dict[tuple[str, str], list[PlannedRun]] = {}
        self.by_key = {run.key: run for run in plan.runs}
        for run in plan.runs:
            self.runs.setdefault((run.label, run.student), []).append(run)
        self.reasons = {(cell.label, cell.student, cell.task): cell.reason for cell in plan.not_applicable}

    def all(self) -> Iterator[BoardRow]:
        """The measured rows, and the row of the constant answer if it has a score on some task."""
        yield from (self._teacher(name) for name in self.plan.teachers)
        if constant := self._constant():
            yield constant
        yield from self._students()

    def _teacher(self, name: str) -> BoardRow:
        by_task = self.plan.teachers[name]
        keys = [key for task_keys in by_task.values() for key in task_keys]
        cells = {
            task.name: self.cells.teacher(task, self.plan.teacher_keys(name, task.name)) for task in self.plan.tasks
        }
        return self._row(BoardRow("teacher", name, "", cells, len(keys), 0), keys)

    def _constant(self) -> BoardRow | None:
        """The row of the constant answer; None if it has a score on no task."""
        cells = {task.name: self.cells.constant(task) for task in self.plan.tasks}
        scored = any(cell.sample for cell in cells.values())
        return self._row(BoardRow("constant", CONSTANT, "", cells, 0, 0), []) if scored else None

    def _students(self) -> list[BoardRow]:
        """One row per planned (label, student), in the suite's order."""
        planned = {*self.runs, *((label, student) for label, student, _ in self.reasons)}
        pairs = [(label, name) for name in self.plan.students for label in self.plan.labels if (label, name) in planned]
        return [self._student(label, name) for label, name in pairs]

    def _student(self, label: str, student: str) -> BoardRow:
        runs = self.runs.get((label, student), [])
        cells = {
            task.name: self.cells.student(
                task,
                [run for run in runs if run.task == task.name],
                self.reasons.get((label, student, task.name), "not part of the suite"),
            )
            for task in self.plan.tasks
        }
        return self._row(BoardRow("student", label, student, cells, len(runs), 0), [run.key for run in runs])

    def _row(self, row: BoardRow, keys: Sequence[str]) -> BoardRow:
        """Add average, sizes and costs to the row."""
        counts = {task.name: not task.diagnostic for task in self.plan.tasks}
        row = replace(row, cells={name: replace(cell, counts=counts[name]) for name, cell in row.cells.items()})
        done = [self.done[key] for key in keys if key in self.done]
        sizes = {result.task: result.model_size for result in done}
        parameters = [size.parameters for size in sizes.values()]
        known = bool(done) and row.status != "incomplete"
        trained = known and any(not isinstance(result, TeacherRecord) or result.finetune for result in done)
        assistants = [self.done[key] for key in self._assistants(keys) if key in self.done]
        return replace(
            row,
            completed=len(done),
            average=ranking.average(self.plan, row),
            parameters=(min(parameters), max(parameters)) if parameters else None,
            compression=self._compression(sizes),
            student_seconds=math.fsum(r.cost.student_seconds for r in done) if trained else None,
            teacher_seconds=math.fsum(r.cost.teacher_seconds for r in done) if trained else None,
            assistant_seconds=_seconds(assistants) if trained and assistants else None,
            tuning_seconds=math.fsum(_tunings(done).values()) if known and _tunings(done) else None,
        )

    def _assistants(self, keys: Iterable[str]) -> list[str]:
        """Keys of the runs whose students taught the runs `keys`, directly or not, each once."""
        waiting, found = list(keys), dict[str, None]()
        while waiting:
            run = self.by_key.get(waiting.pop())
            added = [key for key in (run.assistants.values() if run else ()) if key not in found]
            found |= dict.fromkeys(added)
            waiting += added
        return list(found)

    def _compression(self, sizes: Mapping[str, ModelSize]) -> float | None:
        """Parameters of the suite's first teacher over those of the model, summed over the tasks that both have."""
        teachers = self.plan.teachers.get(self.first_teacher or "", {})
        # All seeds of a teacher have the same shape.
        keys = {task: key for task in sizes for key in teachers.get(task, [])[:1] if key in self.done}
        parameters = sum(sizes[task].parameters for task in keys)
        return sum(self.done[key].model_size.parameters for key in keys.values()) / parameters if parameters else None


def _tunings(results: Iterable[Result]) -> dict[str, float]:
    """Study -> its seconds. The runs of one row share a study."""
    return {run.tuning.study: run.tuning.seconds for run in results if isinstance(run, RunRecord) and run.tuning}


def _seconds(results: Iterable[Result]) -> float:
    """The time of the students' own steps and of their share of their teachers' forward passes."""
    return math.fsum(result.cost.student_seconds + result.cost.teacher_seconds for result in results)
