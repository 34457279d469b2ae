"""Build the plan of a suite: its jobs and their keys.

This loads data and checkpoints, because keys depend on their contents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from harness.api.errors import Problem, UserError
from harness.api.method import Method
from harness.api.task import Task
from harness.config.selection_schema import SelectionSpec
from harness.config.training_schema import TrainingSpec
from harness.models import pretrained
from harness.planning import keys, teacher_cache_policy, tuning_studies
from harness.planning.augmentation_jobs import AugmentationJobs
from harness.planning.cache_decisions import CacheDecision
from harness.planning.devices import best_device
from harness.planning.job_inputs import TaskData, task_info
from harness.planning.jobs import AugmentationJob, Lineage, RunJob, TeacherJob, TextStageJob
from harness.planning.plan import Plan
from harness.planning.suite_models import SuiteModels, check_max_length, max_length_key
from harness.planning.task_data import forget_summary, lazy_splits, summarize
from harness.planning.teacher_jobs import TeacherJobs
from harness.planning.text_stage_jobs import StudentInit, TextStageJobs
from harness.planning.truncation import truncated_texts
from harness.resolution import row_teachers
from harness.resolution.cell_resolution import unavailable_assistant
from harness.resolution.suite import Cell, Resolved
from harness.storage.hashing import key
from harness.storage.plan_file import NotApplicable, PlannedRun

CARRIED = {"logits", "pooled", "embeddings", "hidden"}
"""Outputs that can be aligned to a student with another tokenizer: see `harness.training.token_alignment`."""


def build(resolved: Resolved) -> Plan:
    """Build the plan of a resolved suite, and compute every key.

    Raises:
        UserError: a data set or a checkpoint cannot be loaded, or a setting does not suit it.
    """
    return _Builder(resolved).plan()


@dataclass(frozen=True)
class _SharedBySeeds:
    """What the runs of a cell have in common: settings, models, data and key parts.

    Attributes:
        lineages: the models of the run of each seed, in the order of the suite's seeds.
        by_epoch: how the epoch that a run keeps is selected, if it keeps the best.
        task_parts: the key parts that all runs on the task have in common.
    """

    settings: TrainingSpec
    init: StudentInit
    augmented: AugmentationJob | None
    general: TextStageJob | None
    lineages: list[Lineage]
    by_epoch: SelectionSpec | None
    task_parts: Mapping[str, Any]
    method_parts: Mapping[str, Any]
    data_parts: Mapping[str, Any]


class _Builder:
    """Builds one plan: its data, then its teachers, then the runs of each cell."""

    def __init__(self, resolved: Resolved) -> None:
        self.resolved = resolved
        self.suite = resolved.suite
        self.spec = resolved.suite.spec
        self.device = self.spec.device or best_device()
        self.runs: dict[tuple[str, str, str], list[RunJob]] = {}
        self.reasons: dict[tuple[str, str, str], str | None] = {}
        self.models = SuiteModels(self.suite)
        self.teachers = TeacherJobs(self.suite, self.models, self.device, self.runs)
        self.text_stages = TextStageJobs(resolved, self.device)
        self.augmented = AugmentationJobs(self.suite, self.models, self.device)
        self.held_out: dict[str, int] = {}
        self._settings_on: dict[str, tuple[TrainingSpec, dict[str, Any]]] = {}

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
                jobs = list(self._runs(cell, data[cell.task.name])) if reason is None else []
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
            replace(task, label_scale=found.report.labels) if task.standardize else task,
            load,
            found.train,
            found.validation,
            found.train_examples,
            found.report,
            chosen_on,
            forget=partial(forget_summary, task, self.suite),
            is_of_plugin=task.name in self.suite.plugin_tasks,
        )

    def _on_task(self, task: str) -> tuple[TrainingSpec, dict[str, Any]]:
        """Return the training settings of a task, and the key parts that its runs have in common."""
        if task not in self._settings_on:
            settings = self.spec.training.on(task)
            self._settings_on[task] = settings, keys.on_task(self.spec, settings, self.device)
        return self._settings_on[task]

    def _runs(self, cell: Cell, data: TaskData) -> Iterator[RunJob]:
        """Yield the runs of a cell, one for each seed."""
        shared = self._shared_by_seeds(cell, data)
        for seed, lineage in zip(self.spec.seeds, shared.lineages, strict=True):
            yield self._run(cell, data, shared, lineage, seed)

    def _shared_by_seeds(self, cell: Cell, data: TaskData) -> _SharedBySeeds:
        """Return what the runs of a cell have in common."""
        settings, task_parts = self._on_task(cell.task.name)
        init, teachers = self._student_init(cell), self._teachers_of(cell, 0)
        self._check_lengths(cell, settings, init, teachers)
        general = self.text_stages.job(cell, init, teachers[0].alone) if cell.variant.general else None
        selection = self.spec.selection
        return _SharedBySeeds(
            settings=settings,
            init=init,
            augmented=self.augmented.job(cell.variant, self._method(cell, self.spec.seeds[0]), data),
            general=general,
            lineages=self._lineages(cell, general),
            by_epoch=selection if selection is not None and selection.epoch == "best" else None,
            task_parts=task_parts,
            method_parts=keys.method(cell.variant, self.spec, settings),
            data_parts={
                **keys.data(data, init.tokenizer_ref, settings.max_length),
                "validation": data.validation_fingerprint,
            },
        )

    def _check_lengths(
        self, cell: Cell, settings: TrainingSpec, init: StudentInit, teachers: Sequence[TeacherJob]
    ) -> None:
        """Raise `UserError` if a model of the cell has fewer positions than `max_length`."""
        limits = {
            job.row: self.models.max_tokens(job)
            for job in teachers
            if job.tokenizer_ref.fingerprint == init.tokenizer_ref.fingerprint
        }
        if init.checkpoint is not None:
            limits[cell.student] = self.models.max_tokens_of_checkpoint(init.checkpoint)
        elif init.source is not None:  # the student has its positions
            limits[init.source.row] = self.models.max_tokens(init.source)
        for name, most in limits.items():
            check_max_length(settings.max_length, max_length_key(self.suite, cell.task.name), name, most)

    def _run(self, cell: Cell, data: TaskData, shared: _SharedBySeeds, lineage: Lineage, seed: int) -> RunJob:
        """Return the run of a cell with one seed."""
        data_seed = shared.settings.data_seed if shared.settings.data_seed is not None else seed
        parts = self._key_parts(cell, data, shared, lineage, seed, data_seed)
        planned = PlannedRun(
            key=key(parts),
            task=cell.task.name,
            label=cell.variant.label,
            method=cell.variant.method.name,
            student=cell.student,
            seed=seed,
            teachers=[teacher.row for teacher in lineage.teachers],
            teacher_seeds=[teacher.fine_tuning_seed for teacher in lineage.teachers],
            assistants={t.row: t.run.planned.key for t in lineage.teachers if t.run is not None},
        )
        return RunJob(
            planned,
            cell,
            self._method(cell, seed),
            data,
            shared.init.tokenizer_ref,
            shared.init.checkpoint,
            lineage,
            shared.lineages[0],
            data_seed,
            parts,
            shared.settings,
            shared.augmented,
            shared.general,
            best_epoch=shared.by_epoch is not None,
        )

    def _key_parts(
        self, cell: Cell, data: TaskData, shared: _SharedBySeeds, lineage: Lineage, seed: int, data_seed: int
    ) -> dict[str, Any]:
        """Return the parts of a run's key."""
        parts = keys.run(
            shared.task_parts, shared.method_parts, lineage.parts, shared.data_parts, seed=seed, data_seed=data_seed
        )
        aligned = [teacher.tokenizer_ref for teacher in lineage.teachers]
        parts |= keys.alignment(shared.init.tokenizer_ref, aligned, answers=cell.task.kind == "qa")
        if shared.augmented is not None:
            parts["augmentation"] = shared.augmented.parts
        if shared.by_epoch is not None:
            parts["selection"] = keys.selection(data, shared.by_epoch)
        return parts

    def _lineages(self, cell: Cell, general: TextStageJob | None) -> list[Lineage]:
        """Return the models that the cell's run depends on, for each seed. Runs of all seeds share them if they can."""
        seeds, task = len(self.spec.seeds), cell.task.name
        first = self.spec.first_teacher
        names = {*cell.variant.teachers, *([first] if first else [])}
        if all(len(self.teachers.of(task, name)) == 1 for name in names):
            return [self._lineage(cell, 0, general)] * seeds
        return [self._lineage(cell, seed_index, general) for seed_index in range(seeds)]

    def _lineage(self, cell: Cell, seed_index: int, general: TextStageJob | None) -> Lineage:
        """Return the models that the cell's run depends on, for the seed at position `seed_index`."""
        init, teachers = self._student_init(cell, seed_index), self._teachers_of(cell, seed_index)
        checkpoint, source = init.checkpoint, init.source
        student = keys.student(
            self.spec.students[cell.student],
            self.resolved.shapes[cell.student],
            pretrained.fingerprint(checkpoint) if checkpoint is not None else None,
            source,
            pretrained.fingerprint(source.checkpoint) if source and source.checkpoint is not None else None,
            general.key if general else None,
        )
        return Lineage(teachers, source, {"student": student, "teachers": [job.key for job in teachers]})

    def _student_init(self, cell: Cell, seed_index: int = 0) -> StudentInit:
        """Return the models that give the cell's student its weights, family and tokenizer."""
        first = self.spec.first_teacher
        source = self.teachers.for_seed(cell.task.name, first, seed_index) if first else None
        checkpoint = self.models.checkpoint(cell.student)
        tokenizer_ref = (
            self.models.tokenizer(checkpoint) if checkpoint is not None else source.tokenizer_ref if source else None
        )
        if tokenizer_ref is None:
            raise UserError(
                Problem(
                    "a student takes its family and its vocabulary from the suite's first teacher, and there is none:"
                    " add one to teachers, or give `init` a hub id or folder",
                    f"students.{cell.student}",
                )
            )
        return StudentInit(tokenizer_ref, checkpoint, source)

    def _obstacle(self, cell: Cell) -> str | None:
        """Return why the cell cannot run; None if it can.

        A teacher that is a row of the suite may be n/a, or the student cannot start with a text stage.
        """
        if reason := unavailable_assistant(self.suite, cell.variant, cell.task.name, self.reasons):
            return reason
        if not cell.variant.general:
            return None
        teacher = self.teachers.for_seed(cell.task.name, cell.variant.teachers[0], 0)
        return self.text_stages.obstacle(cell, self._student_init(cell), teacher)

    def _teachers_of(self, cell: Cell, seed_index: int) -> tuple[TeacherJob, ...]:
        """Return the cell's teachers for the seed at position `seed_index`, as a group if its method requests one."""
        alone = tuple(self.teachers.for_seed(cell.task.name, name, seed_index) for name in cell.variant.teachers)
        if not all(job.spec.is_trained for job in alone):
            return alone  # teachers share a head only if all of them are trained
        cofinetuning = self._method(cell, self.spec.seeds[0]).cofinetuning() if alone else None
        return self.teachers.together(alone, cell.variant, cofinetuning) if cofinetuning else alone

    def _method(self, cell: Cell, seed: int) -> Method:
        variant, shapes = cell.variant, self.resolved.shapes
        teachers = [shapes[name] for name in variant.teachers]
        return variant.bind(task_info(cell.task), shapes[cell.student], teachers, seed)


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
