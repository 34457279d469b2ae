"""Suite -> runs with keys. Reads data and checkpoints, for the keys depend on what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from harness.api.errors import Problem, UserError
from harness.api.method import Augmentation, Method
from harness.api.task import Splits, Task
from harness.config.schema import TeacherSpec
from harness.models import checkpoint_inspection, families, pretrained, tokenizers
from harness.planning import keys, teacher_cache_policy, tuning_studies
from harness.planning.devices import best_device
from harness.planning.jobs import (
    AugmentationJob,
    GeneralJob,
    Lineage,
    RunJob,
    TaskData,
    TeacherJob,
    TokenizerRef,
    task_info,
)
from harness.planning.plan import Plan
from harness.planning.task_data import report_on, splits_of
from harness.planning.teacher_groups import TeacherGroups
from harness.planning.text_stage_jobs import StudentInit, TextStageJobs
from harness.resolution import augmentation_inputs
from harness.resolution.suite import Cell, MethodVariant, Resolved
from harness.storage.hashing import key
from harness.storage.records import NotApplicable, PlannedRun
from harness.tasks.fingerprints import fingerprint
from harness.training.schedule import stage_data

CARRIED = {"logits", "pooled", "embeddings", "hidden"}
"""Tensors that a teacher with another tokenizer can give: see `harness.training.token_alignment`."""


def build(resolved: Resolved) -> Plan:
    """Decide every key.

    Raises:
        UserError: a data set or a checkpoint cannot be had.
    """
    return _Builder(resolved).plan()


class _Builder:
    """Holds what is read once and used for many runs."""

    def __init__(self, resolved: Resolved) -> None:
        self.resolved = resolved
        self.suite = resolved.suite
        self.spec = resolved.suite.spec
        self.device = self.spec.device or best_device()
        self.paths: dict[str, Path] = {}
        self.readers: dict[Path, TokenizerRef] = {}
        self.teachers: dict[tuple[str, str], list[TeacherJob]] = {}
        self.groups = TeacherGroups()
        self.generals = TextStageJobs(resolved, self.device)
        self.augmented: dict[tuple[str, str], AugmentationJob | None] = {}

    def plan(self) -> Plan:
        data = self._data_of_all()
        for task in data.values():
            for name, spec in self.spec.teachers.items():
                self.teachers[task.task.name, name] = self._teachers(name, spec, task)
        runs: list[RunJob] = []
        not_applicable: list[NotApplicable] = []
        for cell in self.resolved.cells:
            reason = cell.reason or self._obstacle(cell)
            jobs = list(self._jobs(cell, data[cell.task.name])) if reason is None else []
            reason = reason or next(filter(None, map(_unreadable, jobs)), None)
            if reason is None:
                runs += jobs
            else:
                not_applicable.append(
                    NotApplicable(task=cell.task.name, label=cell.variant.label, student=cell.student, reason=reason)
                )
        runs, choices = teacher_cache_policy.decide(tuning_studies.decide(runs, self.spec), self.spec, self.device)
        alone = {(task, job.name): job for (task, _), jobs in self.teachers.items() for job in jobs}
        taught = {(job.planned.task, teacher.name): teacher for job in runs for teacher in job.teachers}
        # Task by task, and last in each those that are trained together: no row of the board depends on them.
        teachers = sorted((alone | taught).values(), key=lambda job: list(data).index(job.data.task.name))
        reports = {name: report_on(task.splits) for name, task in data.items()}
        return Plan(self.resolved, self.device, tuple(teachers), tuple(runs), tuple(not_applicable), choices, reports)

    def _data_of_all(self) -> dict[str, TaskData]:
        """Of each task. Raises `UserError` with the problems of all of them."""
        found: dict[str, TaskData] = {}
        problems: list[Problem] = []
        for task in self.suite.tasks:
            try:
                found[task.name] = self._data(task)
            except UserError as error:
                problems += error.problems
        if problems:
            raise UserError(*problems)
        return found

    def _data(self, task: Task) -> TaskData:
        spec = self.spec.effective_selection
        splits = splits_of(task, self.suite)
        validation = key({name: fingerprint(part) for name, part in splits.validation.items()})
        chosen_on = fingerprint(splits.selection) if splits.selection is not None else validation if spec else None
        return TaskData(task, splits, fingerprint(splits.train), validation, chosen_on)

    def _path(self, model: str) -> Path:
        if model not in self.paths:
            self.paths[model] = pretrained.locate(model, trust_remote_code=self.spec.trust_remote_code)
        return self.paths[model]

    def _checkpoint(self, name: str) -> Path | None:
        """Of a teacher or student that has one."""
        model = self.suite.models.get(name)
        if model is None:
            return None
        path = self._path(model)
        key = f"teachers.{name}.model" if name in self.spec.teachers else f"students.{name}.init"
        checkpoint_inspection.raise_problems(path, key, trust_remote_code=self.spec.trust_remote_code)
        return path

    def _reader(self, checkpoint: Path) -> TokenizerRef:
        if checkpoint not in self.readers:
            tokenizer = tokenizers.load(checkpoint)
            config = pretrained.config_in(checkpoint, trust_remote_code=self.spec.trust_remote_code)
            most = tokenizers.most_tokens(tokenizer, config)
            self.readers[checkpoint] = TokenizerRef(tokenizers.fingerprint(tokenizer), tokenizer, most)
        return self.readers[checkpoint]

    def _teachers(self, name: str, spec: TeacherSpec, data: TaskData) -> list[TeacherJob]:
        """One, or one per seed of the suite."""
        each = spec.per_seed
        if len(each) == 1:
            return [self._teacher(name, each[0], data)]
        return [
            replace(self._teacher(name, own, data), name=f"{name} (seed {own.seed})", place=place)
            for place, own in enumerate(each)
        ]

    def _teacher(self, name: str, spec: TeacherSpec, data: TaskData) -> TeacherJob:
        own = {"epochs": spec.epochs, "lr": spec.lr, "batch_size": spec.batch_size, "max_length": spec.max_length}
        update: dict[str, object] = {k: v for k, v in own.items() if v is not None}
        if "batch_size" in update:
            update["token_budget"] = None
        settings = self.spec.training.on(data.task.name).model_copy(update=update)
        checkpoint = self._checkpoint(name)
        if checkpoint is not None:
            reader = self._reader(checkpoint)
        else:
            tokenizer = tokenizers.whole_word(_texts(data.splits))
            most = families.scratch_positions(settings.max_length)
            reader = TokenizerRef(tokenizers.fingerprint(tokenizer), tokenizer, most)
        digest = pretrained.fingerprint(checkpoint) if checkpoint is not None else None
        parts = keys.teacher(spec, digest, data, reader, settings, self.device)
        job = TeacherJob(name, name, spec, data, checkpoint, reader, settings, parts, key(parts))
        where = f"teachers.{name}.max_length" if spec.max_length else self._max_length_key(data.task)
        _refuse_longer(settings.max_length, where, name, self._reads(job))
        return job

    def _max_length_key(self, task: Task) -> str:
        """Where the suite sets the task's `max_length`."""
        own = self.spec.training.per_task.get(task.name)
        return f"training.per_task.{task.name}.max_length" if own and own.max_length else "training.max_length"

    def _positions(self, checkpoint: Path) -> int | None:
        config = pretrained.config_in(checkpoint, trust_remote_code=self.spec.trust_remote_code)
        return families.most_tokens(config)

    def _reads(self, teacher: TeacherJob) -> int | None:
        """How many tokens it has positions for; None: any number."""
        if teacher.checkpoint is None:
            return families.scratch_positions(teacher.training.max_length)
        return self._positions(teacher.checkpoint)

    def _jobs(self, cell: Cell, data: TaskData) -> Iterator[RunJob]:
        """One for each seed."""
        task, variant, settings = cell.task, cell.variant, self.spec.training.on(cell.task.name)
        beginning = self._beginning(cell)
        reader, checkpoint, source = beginning.reader, beginning.checkpoint, beginning.source
        teachers = self._teachers_of(cell, 0)
        limits = {each.row: self._reads(each) for each in teachers if each.reader.fingerprint == reader.fingerprint}
        if checkpoint is not None:
            limits[cell.student] = self._positions(checkpoint)
        elif source is not None:  # which the student is made like
            limits[source.row] = self._reads(source)
        for name, most in limits.items():
            _refuse_longer(settings.max_length, self._max_length_key(task), name, most)
        augmented = self._augmented(cell, data)
        general = self.generals.job(cell, beginning, teachers[0].alone) if variant.general else None
        lineages = [self._lineage(cell, place, general) for place in range(len(self.spec.seeds))]
        for seed, lineage in zip(self.spec.seeds, lineages, strict=True):
            data_seed = settings.data_seed if settings.data_seed is not None else seed
            parts = keys.run(
                variant,
                lineage.parts,
                keys.data(data, reader, settings.max_length),
                data.validation_fingerprint,
                seed=seed,
                data_seed=data_seed,
                suite=self.spec,
                settings=settings,
                device=self.device,
            )
            parts |= keys.alignment(reader, [teacher.reader for teacher in lineage.teachers])
            if augmented is not None:
                parts["augmentation"] = augmented.parts
            if self.spec.effective_selection and self.spec.effective_selection.epoch == "best":
                parts["selection"] = keys.selection(data, self.spec.effective_selection)
            planned = PlannedRun(
                key=key(parts),
                task=task.name,
                label=variant.label,
                method=variant.method.name,
                student=cell.student,
                seed=seed,
                teachers=[teacher.row for teacher in lineage.teachers],
                teacher_seeds=[teacher.spec.seed for teacher in lineage.teachers],
            )
            method = self._method(cell, seed)
            yield RunJob(
                planned,
                cell,
                method,
                data,
                reader,
                checkpoint,
                lineage,
                lineages[0],
                data_seed,
                parts,
                settings,
                augmented,
                general,
            )

    def _lineage(self, cell: Cell, place: int, general: GeneralJob | None) -> Lineage:
        """What the cell's run with the seed at that place depends on."""
        beginning, teachers = self._beginning(cell, place), self._teachers_of(cell, place)
        checkpoint, source = beginning.checkpoint, beginning.source
        student = keys.student(
            self.spec.students[cell.student],
            self.resolved.shapes[cell.student],
            pretrained.fingerprint(checkpoint) if checkpoint is not None else None,
            source,
            pretrained.fingerprint(source.checkpoint) if source and source.checkpoint is not None else None,
            general.key if general else None,
        )
        return Lineage(teachers, source, {"student": student, "teachers": [job.key for job in teachers]})

    def _at(self, task: str, teacher: str, place: int) -> TeacherJob:
        """The teacher for the seed at that place."""
        jobs = self.teachers[task, teacher]
        return jobs[place] if len(jobs) > 1 else jobs[0]

    def _beginning(self, cell: Cell, place: int = 0) -> StudentInit:
        """Where the cell's student takes its weights, its family and its tokenizer from."""
        task, names = cell.task.name, list(self.spec.teachers)
        source = self._at(task, names[0], place) if names else None
        checkpoint = self._checkpoint(cell.student)
        reader = self._reader(checkpoint) if checkpoint is not None else source.reader if source else None
        if reader is None:
            raise UserError(
                Problem(
                    "a student takes its family and its vocabulary from the suite's first teacher, and there is none:"
                    " add one to teachers, or give `init` a hub id or folder",
                    f"students.{cell.student}",
                )
            )
        return StudentInit(reader, checkpoint, source)

    def _obstacle(self, cell: Cell) -> str | None:
        """Why the cell's student cannot begin as the suite says."""
        if not cell.variant.general:
            return None
        teacher = self._at(cell.task.name, cell.variant.teachers[0], 0)
        return self.generals.obstacle(cell, self._beginning(cell), teacher)

    def _teachers_of(self, cell: Cell, place: int) -> tuple[TeacherJob, ...]:
        """The cell's teachers for the seed at that place, each fine-tuned by itself, or all together if its method says
        so."""
        alone = tuple(self._at(cell.task.name, name, place) for name in cell.variant.teachers)
        cofinetuning = self._method(cell, self.spec.seeds[0]).cofinetuning() if alone else None
        return self.groups.together(alone, cell.variant, cofinetuning) if cofinetuning else alone

    def _augmented(self, cell: Cell, data: TaskData) -> AugmentationJob | None:
        """What the row of the board learns from on that task, if its method makes training data that a stage uses."""
        place, method = (data.task.name, cell.variant.label), self._method(cell, self.spec.seeds[0])
        if place not in self.augmented:
            asked = method.augmentation()
            self.augmented[place] = self._augmentation(asked, cell.variant, data) if asked else None
        used = "augmented" in stage_data(method.stages(), cell.variant.stages, augmented=True)
        return self.augmented[place] if used else None

    def _augmentation(self, asked: Augmentation, variant: MethodVariant, data: TaskData) -> AugmentationJob:
        model = self._path(augmentation_inputs.model_of(asked, self.suite, variant))
        files = augmentation_inputs.files_of(asked, self.suite, variant)
        parts = keys.augmentation(asked, variant.method, pretrained.fingerprint(model), files, data, self.device)
        return AugmentationJob(variant.label, data, asked, model, files, parts, key(parts))

    def _method(self, cell: Cell, seed: int) -> Method:
        variant, shapes = cell.variant, self.resolved.shapes
        teachers = [shapes[name] for name in variant.teachers]
        return variant.bind(task_info(cell.task), shapes[cell.student], teachers, seed)


def _refuse_longer(tokens: int, where: str, name: str, most: int | None) -> None:
    """Raise `UserError` at the key `where` if the model `name` has no positions for so many tokens."""
    if most is not None and tokens > most:
        raise UserError(Problem(f"it is {tokens}, but {name} reads at most {most} tokens; lower it", where))


def _unreadable(job: RunJob) -> str | None:
    """Why the student cannot learn from its teachers' tokens: one reads with another tokenizer, and the method asks for
    what cannot be carried over."""
    for stage in job.method.stages():
        for teacher, names in zip(job.teachers, stage.needs.teachers, strict=False):
            wanted = sorted(name for name in names if name.split("[")[0] not in CARRIED)
            if wanted and teacher.reader.fingerprint != job.reader.fingerprint:
                return f"needs {', '.join(wanted)} of teacher {teacher.row}, whose tokenizer is not the student's"
    return None


def _texts(splits: Splits) -> Iterator[str]:
    """All training texts, column by column."""
    for column in ("text", "text_pair", "question", "context"):
        if column in splits.train.column_names:
            yield from splits.train[column]
