"""Gives stored results the names that the present plan has for them.

Keys do not contain the names of rows, students and teachers, so that a suite with other names repeats no training. A
record keeps the names of the suite that wrote it, which the plan may use for something else by now.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from harness.storage.latency_records import LatencyRecord
from harness.storage.plan_file import PlanFile, PlannedRun
from harness.storage.records import RunRecord, TeacherRecord

R = TypeVar("R", RunRecord, TeacherRecord)


def named_as(planned: PlannedRun, record: RunRecord) -> RunRecord:
    """Return the record of the planned run with the names of the plan."""
    names = planned.model_dump(include={"label", "student", "teachers", "assistants"})
    return record.model_copy(update=names)


class PlannedNames:
    """The names of a plan. A result that several rows or teachers share has the name of the first.

    Args:
        stored: the results of the plan with the names that they are stored with, by which those of models that were
            measured before are recognized.
    """

    def __init__(self, plan: PlanFile, stored: Iterable[RunRecord | TeacherRecord]) -> None:
        self._runs = {run.key: run for run in reversed(plan.runs)}
        teachers = [(name, keys) for name, by_task in plan.teachers.items() for keys in by_task.values()]
        self._teachers = {key: name for name, keys in reversed(teachers) for key in keys}
        self._present = {*plan.students, *plan.teachers}
        self._renamed: dict[tuple[str, str], str] = {}
        for record in stored:
            if isinstance(record, RunRecord):
                self._renamed["student", record.student] = self.result(record).student
            else:
                self._renamed["teacher", record.name] = self.result(record).name

    def result(self, record: R) -> R:
        """Return the record with the names of the plan; unchanged if it is not planned."""
        if isinstance(record, RunRecord):
            planned = self._runs.get(record.key)
            return record if planned is None else named_as(planned, record)
        return record.model_copy(update={"name": self._teachers.get(record.key, record.name)})

    def latency(self, record: LatencyRecord) -> LatencyRecord:
        """Return the measurement with the names of the plan.

        A name that the plan still has, perhaps for another model, and one that no stored result has are kept.
        """
        measured = [*((m.role, m.name) for m in record.models), *(("student", name) for name in record.not_measured)]
        names = {name: self._renamed.get((role, name), name) for role, name in measured if name not in self._present}
        distinct = {names.get(name, name) for _, name in measured}
        return record.renamed(names) if len(distinct) == len(measured) else record
