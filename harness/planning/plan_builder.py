"""Build the plan of a suite: its jobs and their keys.

This loads data and checkpoints, because keys depend on their contents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from harness.api.errors import Problem, UserError
from harness.api.task import Task
from harness.planning import teacher_cache_policy, tuning_studies
from harness.planning.cache_decisions import CacheDecision
from harness.planning.devices import best_device
from harness.planning.job_inputs import TaskData
from harness.planning.jobs import RunJob
from harness.planning.plan import Plan
from harness.planning.run_jobs import RunJobs
from harness.planning.suite_models import SuiteModels
from harness.planning.task_data import forget_summary, lazy_splits, summarize
from harness.planning.teacher_jobs import TeacherJobs
from harness.planning.truncation import truncated_texts
from harness.resolution import row_teachers
from harness.resolution.cell_resolution import unavailable_assistant
from harness.resolution.suite import Cell, Resolved
from harness.storage.plan_file import NotApplicable

CARRIED = {"logits", "pooled", "embeddings", "hidden"}
"""Outputs that can be aligned to a student with another tokenizer: see `harness.training.token_alignment`."""


def build(resolved: Resolved) -> Plan:
    """Build the plan of a resolved suite, and compute every key.

    Raises:
        UserError: a data set or a checkpoint cannot be loaded, or a setting does not suit it.
    """
    return _Builder(resolved).plan()


class _Builder:
    """Builds one plan: its data, then its teachers, then the runs of each cell."""

    def __init__(self, resolved: Resolved) -> None:
        self.resolved = resolved
        self.suite = resolved.suite
        self.spec = resolved.suite.spec
        self.device = self.spec.device or best_device()
        self.runs: dict[tuple[str, str, str], list[RunJob]] = {}
        self.reasons: dict[tuple[str, str, str], str | None] = {}
        self.held_out: dict[str, int] = {}
        models = SuiteModels(self.suite)
        self.teachers = TeacherJobs(self.suite, models, self.device, self.runs)
        self.run_jobs = RunJobs(resolved, models, self.teachers, self.device)

    def plan(self) -> Plan:
        data = self._load_data_of_all()
        for task in data.values():
            self.teachers.add_task(task)
        decisions = self._plan_cells(data)
        runs = [job for cell in self.resolved.cells for job in self.runs[_cell_id(cell)]]
        not_applicable = [
            NotApplicable(task=cell.task.name, label=cell.variant.label, student=cell.student, reason=reason)
            for cell in self.resolved.cells
            if (reason := self.reasons[_cell_id(cell)])
        ]
        single = {(task, job.name): job for task, job in self.teachers.alone()}
        used = {(job.planned.task, teacher.name): teacher for job in runs for teacher in job.teachers}
        # Sorted by task. Within a task, the members of groups follow the teachers that are trained alone. Teachers that
        # are rows of the suite are among the runs.
        teachers = [job for job in (single | used).values() if job.run is None]
        teachers.sort(key=lambda job: list(data).index(job.data.task.name))
        reports = {name: task.report for name, task in data.items()}
        return Plan(
            self.resolved,
            self.device,
            tuple(teachers),
            tuple(runs),
            tuple(not_applicable),
            decisions,
            reports,
            self.held_out,
            truncated_texts(runs),
        )

    def _plan_cells(self, data: Mapping[str, TaskData]) -> tuple[CacheDecision, ...]:
        """Fill `runs` and `reasons`, and return the decisions which teacher outputs are cached.

        A row comes after the rows that it learns from, because the keys of its runs contain theirs.
        """
        policy = teacher_cache_policy.CachePolicy(self.spec, self.device)
        cells: dict[str, list[Cell]] = {}
        for cell in self.resolved.cells:
            cells.setdefault(cell.variant.label, []).append(cell)
        for variant in row_teachers.training_order(self.suite.variants, self.suite.rows):
            for cell in cells[variant.label]:
                reason = cell.reason or self._obstacle(cell)
                jobs = self.run_jobs.of_cell(cell, data[cell.task.name]) if reason is None else []
                reason = reason or next(filter(None, map(_tokenizer_mismatch, jobs)), None)
                self.reasons[_cell_id(cell)] = reason
                jobs = tuning_studies.decide(jobs, self.spec) if reason is None else []
                self.runs[_cell_id(cell)] = policy.decide(jobs) if jobs else []
        return policy.decisions()

    def _load_data_of_all(self) -> dict[str, TaskData]:
        """Return the data of each task. Raises `UserError` with the problems of all tasks."""
        data: dict[str, TaskData] = {}
        problems: list[Problem] = []
        for task in self.suite.tasks:
            try:
                data[task.name] = self._load_data(task)
            except UserError as error:
                problems += error.problems
        if problems:
            raise UserError(*problems)
        return data

    def _load_data(self, task: Task) -> TaskData:
        load = lazy_splits(task, self.suite)
        found = summarize(task, self.suite, load)
        if found.selection_examples:
            self.held_out[task.name] = found.selection_examples
        chosen_on = found.selection or (found.validation if self.spec.effective_selection else None)
        return TaskData(
            task=replace(task, label_scale=found.report.labels) if task.standardize else task,
            load=load,
            train_fingerprint=found.train,
            validation_fingerprint=found.validation,
            train_examples=found.train_examples,
            report=found.report,
            selection_fingerprint=chosen_on,
            forget=partial(forget_summary, task, self.suite),
            is_of_plugin=task.name in self.suite.plugin_tasks,
        )

    def _obstacle(self, cell: Cell) -> str | None:
        """Return why the cell cannot run; None if it can.

        A teacher that is a row of the suite may be n/a, or the student cannot start with a text stage.
        """
        reason = unavailable_assistant(self.suite, cell.variant, cell.task.name, self.reasons)
        return reason or self.run_jobs.obstacle(cell)


def _cell_id(cell: Cell) -> tuple[str, str, str]:
    """Return task, row and student of a cell."""
    return cell.task.name, cell.variant.label, cell.student


def _tokenizer_mismatch(job: RunJob) -> str | None:
    """Return why the run is not applicable: a teacher has another tokenizer, and its outputs cannot be aligned.

    None if all requested outputs are available.
    """
    for stage in job.stages:
        foreign = [
            teacher for teacher in job.teachers if teacher.tokenizer_ref.fingerprint != job.tokenizer_ref.fingerprint
        ]
        if stage.live and foreign:
            return f"runs teacher {foreign[0].row} on the student's tokens, but its tokenizer is not the student's"
        for teacher, names in zip(job.teachers, stage.needs.teachers, strict=False):
            unavailable = sorted(name for name in names if name.split("[")[0] not in CARRIED)
            if unavailable and teacher.tokenizer_ref.fingerprint != job.tokenizer_ref.fingerprint:
                return f"needs {', '.join(unavailable)} of teacher {teacher.row}, whose tokenizer is not the student's"
    return None
