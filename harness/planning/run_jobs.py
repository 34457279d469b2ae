"""Create the runs of a cell, one for each seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.config.selection_schema import SelectionSpec
from harness.config.training_schema import TrainingSpec
from harness.planning import keys
from harness.planning.augmentation_jobs import AugmentationJobs
from harness.planning.cell_models import CellModels
from harness.planning.job_inputs import TaskData
from harness.planning.jobs import AugmentationJob, Lineage, RunJob, TextStageJob
from harness.planning.suite_models import SuiteModels
from harness.planning.teacher_jobs import TeacherJobs
from harness.planning.text_stage_jobs import StudentInit, TextStageJobs
from harness.resolution.suite import Cell, Resolved
from harness.storage.hashing import key
from harness.storage.plan_file import PlannedRun


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


class RunJobs:
    """The runs of a plan, with the text stages and augmented data that they start from."""

    def __init__(self, resolved: Resolved, models: SuiteModels, teachers: TeacherJobs, device: str) -> None:
        self.spec = resolved.suite.spec
        self.device = device
        self.models = CellModels(resolved, models, teachers)
        self.text_stages = TextStageJobs(resolved, device)
        self.augmented = AugmentationJobs(resolved.suite, models, device)
        self._settings_on: dict[str, tuple[TrainingSpec, dict[str, Any]]] = {}

    def obstacle(self, cell: Cell) -> str | None:
        """Return why the cell's student cannot start with its text stage; None if it can, or has none."""
        if not cell.variant.general:
            return None
        teacher = self.models.teachers.for_seed(cell.task.name, cell.variant.teachers[0], 0)
        return self.text_stages.obstacle(cell, self.models.student_init(cell), teacher)

    def of_cell(self, cell: Cell, data: TaskData) -> list[RunJob]:
        """Return the runs of a cell, one for each seed of the suite.

        Raises:
            UserError: a model has fewer positions than `max_length`, or the student has neither checkpoint nor teacher.
        """
        shared = self._shared_by_seeds(cell, data)
        seeds = zip(self.spec.seeds, shared.lineages, strict=True)
        return [self._run(cell, data, shared, lineage, seed) for seed, lineage in seeds]

    def _shared_by_seeds(self, cell: Cell, data: TaskData) -> _SharedBySeeds:
        """Return what the runs of a cell have in common."""
        settings, task_parts = self._on_task(cell.task.name)
        init, teachers = self.models.student_init(cell), self.models.teachers_of(cell, 0)
        self.models.check_lengths(cell, settings, init, teachers)
        general = self.text_stages.job(cell, init, teachers[0].alone) if cell.variant.general else None
        selection = self.spec.selection
        return _SharedBySeeds(
            settings=settings,
            init=init,
            augmented=self.augmented.job(cell.variant, self.models.method(cell, self.spec.seeds[0]), data),
            general=general,
            lineages=self.models.lineages(cell, general),
            by_epoch=selection if selection is not None and selection.epoch == "best" else None,
            task_parts=task_parts,
            method_parts=keys.method(cell.variant, self.spec, settings),
            data_parts={
                **keys.data(data, init.tokenizer_ref, settings.max_length),
                "validation": data.validation_fingerprint,
            },
        )

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
            planned=planned,
            cell=cell,
            method=self.models.method(cell, seed),
            data=data,
            tokenizer_ref=shared.init.tokenizer_ref,
            checkpoint=shared.init.checkpoint,
            lineage=lineage,
            first=shared.lineages[0],
            data_seed=data_seed,
            parts=parts,
            training=shared.settings,
            augmented=shared.augmented,
            general=shared.general,
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

    def _on_task(self, task: str) -> tuple[TrainingSpec, dict[str, Any]]:
        """Return the training settings of a task, and the key parts that its runs have in common."""
        if task not in self._settings_on:
            settings = self.spec.training.on(task)
            self._settings_on[task] = settings, keys.on_task(self.spec, settings, self.device)
        return self._settings_on[task]
