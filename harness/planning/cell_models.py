"""The models that the runs of a cell depend on: where its student starts, and the teachers."""

from __future__ import annotations

from collections.abc import Sequence

from harness.api.errors import Problem, UserError
from harness.api.method import Method
from harness.config.training_schema import TrainingSpec
from harness.models import pretrained
from harness.planning import keys
from harness.planning.job_inputs import task_info
from harness.planning.jobs import Lineage, TeacherJob, TextStageJob
from harness.planning.suite_models import SuiteModels, check_max_length, max_length_key
from harness.planning.teacher_jobs import TeacherJobs
from harness.planning.text_stage_jobs import StudentInit
from harness.resolution.suite import Cell, Resolved


class CellModels:
    """Finds the models of cells among those of a suite. `teachers` has the teachers of each task."""

    def __init__(self, resolved: Resolved, models: SuiteModels, teachers: TeacherJobs) -> None:
        self.resolved, self.models, self.teachers = resolved, models, teachers
        self.suite, self.spec = resolved.suite, resolved.suite.spec

    def method(self, cell: Cell, seed: int) -> Method:
        """Return the method of a cell, bound to its models."""
        variant, shapes = cell.variant, self.resolved.shapes
        teachers = [shapes[name] for name in variant.teachers]
        return variant.bind(task_info(cell.task), shapes[cell.student], teachers, seed)

    def student_init(self, cell: Cell, seed_index: int = 0) -> StudentInit:
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

    def teachers_of(self, cell: Cell, seed_index: int) -> tuple[TeacherJob, ...]:
        """Return the cell's teachers for the seed at position `seed_index`, as a group if its method requests one."""
        alone = tuple(self.teachers.for_seed(cell.task.name, name, seed_index) for name in cell.variant.teachers)
        if not all(job.spec.is_trained for job in alone):
            return alone  # teachers share a head only if all of them are trained
        cofinetuning = self.method(cell, self.spec.seeds[0]).cofinetuning() if alone else None
        return self.teachers.together(alone, cell.variant, cofinetuning) if cofinetuning else alone

    def check_lengths(
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

    def lineages(self, cell: Cell, general: TextStageJob | None) -> list[Lineage]:
        """Return the models that the cell's run depends on, for each seed. Runs of all seeds share them if they can."""
        seeds, task = len(self.spec.seeds), cell.task.name
        first = self.spec.first_teacher
        names = {*cell.variant.teachers, *([first] if first else [])}
        if all(len(self.teachers.of(task, name)) == 1 for name in names):
            return [self._lineage(cell, 0, general)] * seeds
        return [self._lineage(cell, seed_index, general) for seed_index in range(seeds)]

    def _lineage(self, cell: Cell, seed_index: int, general: TextStageJob | None) -> Lineage:
        """Return the models that the cell's run depends on, for the seed at position `seed_index`."""
        init, teachers = self.student_init(cell, seed_index), self.teachers_of(cell, seed_index)
        checkpoint, source = init.checkpoint, init.source
        student = keys.student(
            self.spec.students[cell.student],
            self.resolved.shapes[cell.student],
            checkpoint=pretrained.fingerprint(checkpoint) if checkpoint is not None else None,
            source=source,
            pretrained=pretrained.fingerprint(source.checkpoint) if source and source.checkpoint is not None else None,
            general=general.key if general else None,
        )
        return Lineage(teachers, source, {"student": student, "teachers": [job.key for job in teachers]})
