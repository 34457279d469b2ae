"""Build the plan of a suite: its jobs and their keys.

This loads data and checkpoints, because keys depend on their contents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from harness.api.errors import Problem, UserError
from harness.api.method import Augmentation, Method
from harness.api.task import Splits, Task
from harness.config.teacher_schema import TeacherSpec
from harness.config.training_schema import TrainingSpec
from harness.models import checkpoint_inspection, families, finetuned_heads, pretrained, tokenizers
from harness.planning import keys, teacher_cache_policy, tuning_studies
from harness.planning.devices import best_device
from harness.planning.jobs import (
    AugmentationJob,
    Choice,
    GeneralJob,
    Lineage,
    RunJob,
    TaskData,
    TeacherJob,
    TokenizerRef,
    task_info,
)
from harness.planning.plan import Plan
from harness.planning.task_data import forget_summary, lazy_splits, summarize
from harness.planning.teacher_groups import TeacherGroups
from harness.planning.text_stage_jobs import StudentInit, TextStageJobs
from harness.resolution import augmentation_inputs, row_teachers
from harness.resolution.cell_resolution import unavailable_assistant
from harness.resolution.suite import Cell, MethodVariant, Resolved
from harness.storage.hashing import key
from harness.storage.plan_file import NotApplicable, PlannedRun
from harness.tasks.features import text_columns, texts_of
from harness.training.schedule import stage_data

CARRIED = {"logits", "pooled", "embeddings", "hidden"}
"""Outputs that can be aligned to a student with another tokenizer: see `harness.training.token_alignment`."""


def build(resolved: Resolved) -> Plan:
    """Build the plan of a resolved suite, and compute every key.

    Raises:
        UserError: a data set or a checkpoint cannot be loaded, or a setting does not suit it.
    """
    return _Builder(resolved).plan()


class _Builder:
    """Builds one plan; caches what several jobs share, such as paths, tokenizers and teachers."""

    def __init__(self, resolved: Resolved) -> None:
        self.resolved = resolved
        self.suite = resolved.suite
        self.spec = resolved.suite.spec
        self.device = self.spec.device or best_device()
        self.paths: dict[str, Path] = {}
        self.checkpoints: dict[str, Path | None] = {}
        self.positions: dict[Path, int | None] = {}
        self.on_task: dict[str, tuple[TrainingSpec, dict[str, Any]]] = {}
        self.tokenizer_refs: dict[Path, TokenizerRef] = {}
        self.whole_word: dict[str, tuple[Callable[[], Any], tokenizers.Description]] = {}
        self.teachers: dict[tuple[str, str], list[TeacherJob]] = {}
        self.runs: dict[tuple[str, str, str], list[RunJob]] = {}
        self.reasons: dict[tuple[str, str, str], str | None] = {}
        self.groups = TeacherGroups()
        self.generals = TextStageJobs(resolved, self.device)
        self.augmented: dict[tuple[str, str], AugmentationJob | None] = {}

    def plan(self) -> Plan:
        data = self._load_data_of_all()
        for task in data.values():
            for name, spec in self.spec.teachers.items():
                if name not in self.suite.rows:
                    self.teachers[task.task.name, name] = self._teachers(name, spec, task)
        choices = self._plan_cells(data)
        runs = [job for cell in self.resolved.cells for job in self.runs[_place(cell)]]
        not_applicable = [
            NotApplicable(task=cell.task.name, label=cell.variant.label, student=cell.student, reason=reason)
            for cell in self.resolved.cells
            if (reason := self.reasons[_place(cell)])
        ]
        single = {(task, job.name): job for (task, _), jobs in self.teachers.items() for job in jobs}
        used = {(job.planned.task, teacher.name): teacher for job in runs for teacher in job.teachers}
        # Sorted by task. Within a task, the members of groups follow the teachers that are trained alone. Teachers that
        # are rows of the suite are among the runs.
        teachers = [job for job in (single | used).values() if job.run is None]
        teachers.sort(key=lambda job: list(data).index(job.data.task.name))
        reports = {name: task.report for name, task in data.items()}
        return Plan(self.resolved, self.device, tuple(teachers), tuple(runs), tuple(not_applicable), choices, reports)

    def _plan_cells(self, data: Mapping[str, TaskData]) -> tuple[Choice, ...]:
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
                self.reasons[_place(cell)] = reason
                jobs = tuning_studies.decide(jobs, self.spec) if reason is None else []
                self.runs[_place(cell)] = policy.decide(jobs) if jobs else []
        return policy.choices()

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
        chosen_on = found.selection or (found.validation if self.spec.effective_selection else None)
        forget = partial(forget_summary, task, self.suite)
        return TaskData(
            task, load, found.train, found.validation, found.train_examples, found.report, chosen_on, forget
        )

    def _path(self, model: str) -> Path:
        if model not in self.paths:
            self.paths[model] = pretrained.locate(model, trust_remote_code=self.spec.trust_remote_code)
        return self.paths[model]

    def _checkpoint(self, name: str) -> Path | None:
        """Return the validated checkpoint of a teacher or student, None if it has none."""
        if name not in self.checkpoints:
            self.checkpoints[name] = self._validated_checkpoint(name)
        return self.checkpoints[name]

    def _validated_checkpoint(self, name: str) -> Path | None:
        model = self.suite.models.get(name)
        if model is None:
            return None
        path = self._path(model)
        key = f"teachers.{name}.model" if name in self.spec.teachers else f"students.{name}.init"
        checkpoint_inspection.raise_problems(path, key, trust_remote_code=self.spec.trust_remote_code)
        return path

    def _tokenizer_ref(self, checkpoint: Path) -> TokenizerRef:
        if checkpoint not in self.tokenizer_refs:
            trust = self.spec.trust_remote_code
            load = cache(partial(tokenizers.load, checkpoint, trust_remote_code=trust))
            found = tokenizers.describe_checkpoint(checkpoint, load, trust_remote_code=trust)
            ref = TokenizerRef(found.fingerprint, load, found.size, found.has_mask, found.most)
            self.tokenizer_refs[checkpoint] = ref
        return self.tokenizer_refs[checkpoint]

    def _whole_word_ref(self, data: TaskData, max_length: int) -> TokenizerRef:
        """Return the tokenizer that is built from the training texts for teachers without a checkpoint."""
        texts = data.train_fingerprint
        if texts not in self.whole_word:
            build = cache(lambda: tokenizers.whole_word(_training_texts(data.splits)))
            self.whole_word[texts] = build, tokenizers.describe_whole_word(texts, build)
        load, found = self.whole_word[texts]
        most = families.scratch_positions(max_length)
        return TokenizerRef(found.fingerprint, load, found.size, found.has_mask, most)

    def _teachers(self, name: str, spec: TeacherSpec, data: TaskData) -> list[TeacherJob]:
        """Return one teacher, or one per seed of the suite."""
        specs = spec.per_seed
        if len(specs) == 1:
            return [self._teacher(name, specs[0], data)]
        return [
            replace(self._teacher(name, single, data), name=f"{name} (seed {single.seed})", place=place)
            for place, single in enumerate(specs)
        ]

    def _teacher(self, name: str, spec: TeacherSpec, data: TaskData) -> TeacherJob:
        job = self._trained_teacher(name, spec, data) if spec.finetune else self._finetuned_teacher(name, spec, data)
        where = f"teachers.{name}.max_length" if spec.max_length else self._max_length_key(data.task)
        _check_max_length(job.training.max_length, where, name, self._max_tokens(job))
        return job

    def _finetuned_teacher(self, name: str, spec: TeacherSpec, data: TaskData) -> TeacherJob:
        """Return the job of a checkpoint that is used with its own head."""
        checkpoint, task = self._checkpoint(name), data.task
        assert checkpoint is not None  # the schema allows `finetune: false` with `model` only
        settings = self.spec.training.on(task.name)
        if spec.max_length is not None:
            settings = settings.model_copy(update={"max_length": spec.max_length})
        reader, trust = self._tokenizer_ref(checkpoint), self.spec.trust_remote_code
        head = finetuned_heads.find(checkpoint, task, spec.labels_on(task.name), name, trust_remote_code=trust)
        digest = pretrained.fingerprint(checkpoint)
        parts = keys.finetuned_teacher(digest, head.order, data, reader, settings.max_length, self.device)
        return TeacherJob(
            name, name, spec, data, checkpoint, reader, settings, parts, key(parts), order=head.order, head=head.summary
        )

    def _trained_teacher(self, name: str, spec: TeacherSpec, data: TaskData) -> TeacherJob:
        overrides = {"epochs": spec.epochs, "lr": spec.lr, "batch_size": spec.batch_size, "max_length": spec.max_length}
        update: dict[str, object] = {k: v for k, v in overrides.items() if v is not None}
        if "batch_size" in update:
            update["token_budget"] = None
        settings = self.spec.training.on(data.task.name).model_copy(update=update)
        checkpoint = self._checkpoint(name)
        if checkpoint is not None:
            reader = self._tokenizer_ref(checkpoint)
        else:
            reader = self._whole_word_ref(data, settings.max_length)
        digest = pretrained.fingerprint(checkpoint) if checkpoint is not None else None
        parts = keys.teacher(spec, digest, data, reader, settings, self.device)
        trust, head = self.spec.trust_remote_code, ""
        if checkpoint is not None:
            head = finetuned_heads.if_fine_tuned(checkpoint, data.task, trust_remote_code=trust)
        return TeacherJob(name, name, spec, data, checkpoint, reader, settings, parts, key(parts), head=head)

    def _max_length_key(self, task: Task) -> str:
        """Return the suite's key that sets the task's `max_length`."""
        settings = self.spec.training.per_task.get(task.name)
        return (
            f"training.per_task.{task.name}.max_length" if settings and settings.max_length else "training.max_length"
        )

    def _positions(self, checkpoint: Path) -> int | None:
        if checkpoint not in self.positions:
            config = pretrained.config_in(checkpoint, trust_remote_code=self.spec.trust_remote_code)
            self.positions[checkpoint] = families.most_tokens(config)
        return self.positions[checkpoint]

    def _max_tokens(self, teacher: TeacherJob) -> int | None:
        """Return the maximum sequence length of a teacher in tokens, None if there is no limit."""
        if teacher.run is not None:
            run = teacher.run
            if run.checkpoint is not None:
                return self._positions(run.checkpoint)
            return self._max_tokens(run.source) if run.source else None
        if teacher.checkpoint is None:
            return families.scratch_positions(teacher.training.max_length)
        return self._positions(teacher.checkpoint)

    def _on_task(self, task: str) -> tuple[TrainingSpec, dict[str, Any]]:
        """Return the training settings of a task, and the key parts that its runs have in common."""
        if task not in self.on_task:
            settings = self.spec.training.on(task)
            self.on_task[task] = settings, keys.on_task(self.spec, settings, self.device)
        return self.on_task[task]

    def _runs(self, cell: Cell, data: TaskData) -> Iterator[RunJob]:
        """Yield the runs of a cell, one for each seed."""
        task, variant = cell.task, cell.variant
        settings, shared_parts = self._on_task(task.name)
        init = self._student_init(cell)
        reader, checkpoint, source = init.reader, init.checkpoint, init.source
        teachers = self._teachers_of(cell, 0)
        limits = {job.row: self._max_tokens(job) for job in teachers if job.reader.fingerprint == reader.fingerprint}
        if checkpoint is not None:
            limits[cell.student] = self._positions(checkpoint)
        elif source is not None:  # the student has its positions
            limits[source.row] = self._max_tokens(source)
        for name, most in limits.items():
            _check_max_length(settings.max_length, self._max_length_key(task), name, most)
        augmented = self._augmentation_job(cell, data)
        general = self.generals.job(cell, init, teachers[0].alone) if variant.general else None
        lineages = self._lineages(cell, general)
        method_parts = keys.method(variant, self.spec)
        data_parts = {
            **keys.data(data, reader, settings.max_length),
            "validation": data.validation_fingerprint,
        }
        for seed, lineage in zip(self.spec.seeds, lineages, strict=True):
            data_seed = settings.data_seed if settings.data_seed is not None else seed
            parts = keys.run(shared_parts, method_parts, lineage.parts, data_parts, seed=seed, data_seed=data_seed)
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
                teacher_seeds=[teacher.fine_tuning_seed for teacher in lineage.teachers],
                assistants={t.row: t.run.planned.key for t in lineage.teachers if t.run is not None},
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

    def _lineages(self, cell: Cell, general: GeneralJob | None) -> list[Lineage]:
        """Return the models that the cell's run depends on, for each seed. Runs of all seeds share them if they can."""
        seeds, task = len(self.spec.seeds), cell.task.name
        first = self.spec.first_teacher
        names = {*cell.variant.teachers, *([first] if first else [])}
        if all(len(self._jobs_of(task, name)) == 1 for name in names):
            return [self._lineage(cell, 0, general)] * seeds
        return [self._lineage(cell, place, general) for place in range(seeds)]

    def _lineage(self, cell: Cell, place: int, general: GeneralJob | None) -> Lineage:
        """Return the models that the cell's run depends on, for the seed at position `place`."""
        init, teachers = self._student_init(cell, place), self._teachers_of(cell, place)
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

    def _teacher_for_seed(self, task: str, teacher: str, place: int) -> TeacherJob:
        """Return the teacher for the seed at position `place`."""
        jobs = self._jobs_of(task, teacher)
        return jobs[place] if len(jobs) > 1 else jobs[0]

    def _jobs_of(self, task: str, teacher: str) -> list[TeacherJob]:
        """Return the teacher of all runs, or one for each seed of the suite."""
        if (task, teacher) not in self.teachers:
            self.teachers[task, teacher] = self._assistants(task, teacher)
        return self.teachers[task, teacher]

    def _assistants(self, task: str, name: str) -> list[TeacherJob]:
        """Return the teacher that is a row of the suite: the student of each of its runs, or of the one of its seed."""
        row, spec = self.suite.rows[name], self.spec.teachers[name]
        runs = self.runs[task, row.label, row.student]
        return [
            TeacherJob(
                name,
                f"{name} (seed {run.planned.seed})" if row.seed is None else name,
                spec,
                run.data,
                None,
                run.reader,
                run.training,
                run.parts,
                run.planned.key,
                place=place if row.seed is None else None,
                run=run,
            )
            for place, run in enumerate(runs)
            if row.seed in (None, run.planned.seed)
        ]

    def _student_init(self, cell: Cell, place: int = 0) -> StudentInit:
        """Return the models that give the cell's student its weights, family and tokenizer."""
        first = self.spec.first_teacher
        source = self._teacher_for_seed(cell.task.name, first, place) if first else None
        checkpoint = self._checkpoint(cell.student)
        reader = self._tokenizer_ref(checkpoint) if checkpoint is not None else source.reader if source else None
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
        """Return why the cell cannot run; None if it can.

        A teacher that is a row of the suite may be n/a, or the student cannot start with a text stage.
        """
        if reason := unavailable_assistant(self.suite, cell.variant, cell.task.name, self.reasons):
            return reason
        if not cell.variant.general:
            return None
        teacher = self._teacher_for_seed(cell.task.name, cell.variant.teachers[0], 0)
        return self.generals.obstacle(cell, self._student_init(cell), teacher)

    def _teachers_of(self, cell: Cell, place: int) -> tuple[TeacherJob, ...]:
        """Return the cell's teachers for the seed at position `place`, as a group if its method requests one."""
        alone = tuple(self._teacher_for_seed(cell.task.name, name, place) for name in cell.variant.teachers)
        if not all(job.spec.is_trained for job in alone):
            return alone  # teachers share a head only if all of them are trained
        cofinetuning = self._method(cell, self.spec.seeds[0]).cofinetuning() if alone else None
        return self.groups.together(alone, cell.variant, cofinetuning) if cofinetuning else alone

    def _augmentation_job(self, cell: Cell, data: TaskData) -> AugmentationJob | None:
        """Return the augmented data of the row on the task, None if no stage uses any."""
        place, method = (data.task.name, cell.variant.label), self._method(cell, self.spec.seeds[0])
        if place not in self.augmented:
            request = method.augmentation()
            self.augmented[place] = self._build_augmentation_job(request, cell.variant, data) if request else None
        used = "augmented" in stage_data(tuple(method.stages()), cell.variant.stages, augmented=True)
        return self.augmented[place] if used else None

    def _build_augmentation_job(self, request: Augmentation, variant: MethodVariant, data: TaskData) -> AugmentationJob:
        name = augmentation_inputs.model_of(request, self.suite, variant)
        model = None if name is None else self._path(name)
        files = augmentation_inputs.files_of(request, self.suite, variant)
        fingerprint = None if model is None else pretrained.fingerprint(model)
        parts = keys.augmentation(request, variant.method, fingerprint, files, data, self.device)
        return AugmentationJob(variant.label, data, request, model, files, parts, key(parts))

    def _method(self, cell: Cell, seed: int) -> Method:
        variant, shapes = cell.variant, self.resolved.shapes
        teachers = [shapes[name] for name in variant.teachers]
        return variant.bind(task_info(cell.task), shapes[cell.student], teachers, seed)


def _place(cell: Cell) -> tuple[str, str, str]:
    """Return task, row and student of a cell."""
    return cell.task.name, cell.variant.label, cell.student


def _check_max_length(tokens: int, where: str, name: str, most: int | None) -> None:
    """Raise `UserError` at the key `where` if `tokens` exceeds the model's maximum sequence length `most`."""
    if most is not None and tokens > most:
        raise UserError(Problem(f"it is {tokens}, but {name} reads at most {most} tokens; lower it", where))


def _tokenizer_mismatch(job: RunJob) -> str | None:
    """Return why the run is not applicable: a teacher has another tokenizer, and its outputs cannot be aligned.

    None if all requested outputs are available.
    """
    for stage in job.stages:
        foreign = [teacher for teacher in job.teachers if teacher.reader.fingerprint != job.reader.fingerprint]
        if stage.live and foreign:
            return f"runs teacher {foreign[0].row} on the student's tokens, but its tokenizer is not the student's"
        for teacher, names in zip(job.teachers, stage.needs.teachers, strict=False):
            unavailable = sorted(name for name in names if name.split("[")[0] not in CARRIED)
            if unavailable and teacher.reader.fingerprint != job.reader.fingerprint:
                return f"needs {', '.join(unavailable)} of teacher {teacher.row}, whose tokenizer is not the student's"
    return None


def _training_texts(splits: Splits) -> Iterator[str]:
    """Yield all training texts, column by column."""
    for column in text_columns(splits.train):
        for batch in splits.train.select_columns([column]).iter(batch_size=1000):
            yield from texts_of(batch[column])
