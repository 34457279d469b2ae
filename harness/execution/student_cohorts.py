"""Builds cohorts of students, with their batches and teachers, and trains them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from harness.execution import (
    augmented_data,
    cohort_building,
    cohort_driver,
    run_checkpoints,
    teacher_cache,
    teacher_runs,
)
from harness.execution.cohort_building import BuiltRuns
from harness.execution.context import JobContext
from harness.execution.student_runs import FinishedStudent, SourceModels, prepare
from harness.execution.tokenized_tasks import TokenizedTasks
from harness.planning import Plan, RunJob, TeacherJob
from harness.planning.job_inputs import TokenizerRef
from harness.teacher_outputs.output_store import CachedTeacher
from harness.training.batch_stream import BatchStream, TokenizedTask
from harness.training.cohort import Cohort
from harness.training.run import Run
from harness.training.schedule import StageBatches
from harness.training.staged_stream import BatchSource, StagedStream
from harness.training.teacher import Teacher


@dataclass(frozen=True)
class UnbuiltStudent:
    """A run that failed before its first step, because its student or its method could not be built."""

    job: RunJob
    error: str


@dataclass(frozen=True)
class StudentCohorts:
    """Trains the runs of a plan.

    Attributes:
        plan: the plan.
        context: the environment of the jobs.
        tokenized: tokenized tasks, shared with the training of teachers.
        missing: all runs that still have to be trained. Their teachers' outputs are computed in one pass.
        studies: key of a run that is a trial -> key of its tuning, whose folder has the trial's checkpoint.
    """

    plan: Plan
    context: JobContext
    tokenized: TokenizedTasks
    missing: Sequence[RunJob]
    studies: Mapping[str, str] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        return self.context.device

    def train(self, jobs: Sequence[RunJob]) -> Iterator[FinishedStudent | UnbuiltStudent]:
        """Train runs as cohorts and yield each run as it ends, or fails to start. See `cohort_building.train`.

        Raises:
            Interrupted: the process was asked to stop; unfinished runs have checkpoints.
        """
        data: dict[str, TokenizedTask] = {}

        def build(part: Sequence[RunJob]) -> tuple[Cohort, BuiltRuns[RunJob]]:
            cohort, built, tokenized = self._cohort(part)
            data.update(dict.fromkeys(built.jobs, tokenized))
            return cohort, built

        for job, ended in cohort_building.train(jobs, build, _memory_message, self._checkpoint, self.context):
            if isinstance(ended, str):
                yield UnbuiltStudent(job, ended)
            else:
                yield FinishedStudent(ended, job, data[job.planned.key])

    def _cohort(self, jobs: Sequence[RunJob]) -> tuple[Cohort, BuiltRuns[RunJob], TokenizedTask]:
        """Build the cohort of runs with the same batches. Returns it, them, and the task in the students' tokens."""
        first, teachers = jobs[0], _teachers(jobs)
        tokenizers = [first.tokenizer_ref, *(teacher.tokenizer_ref for teacher in teachers.values())]
        streams = {batches: self._stream(first, tokenizers, batches) for batches in dict.fromkeys(first.stage_batches)}
        stages = [streams[batches] for batches in first.stage_batches]
        epochs = dict(streams)
        for job in jobs:  # the sizes of their epochs may differ although those of their stages do not
            if job.epoch_batches not in epochs:
                epochs[job.epoch_batches] = self._stream(job, tokenizers[:1], job.epoch_batches)
        tokenized = stages[0].encoded
        data = tokenized[stages[0].tokenizer_id]
        built = self._runs(jobs, data, epochs, examples=max(stream.examples for stream in stages))
        runs = built.runs
        if not runs:
            return Cohort(stages[0], {}, [], self.device), built, data
        source: BatchSource = StagedStream(stages, runs[0].progress.lengths) if len(streams) > 1 else stages[0]
        outputs = {
            name: self._teacher(name, job, tokenized[job.tokenizer_ref.encoding_id(data.tokenizer_id)], jobs, runs)
            for name, job in teachers.items()
        }
        return Cohort(source, outputs, runs, self.device), built, data

    def _stream(self, job: RunJob, tokenizers: Sequence[TokenizerRef], batches: StageBatches) -> BatchStream:
        """The batch stream of stages with `batches` of runs like `job`, with the first tokenizer for students."""
        rows = job.augmented if batches.data == "augmented" else None
        students, *teachers = self.tokenized.of(job.data, tokenizers, job.training.max_length, rows)
        others = {teacher.tokenizer_id: teacher for teacher in teachers}
        training = job.training.with_batch_size(batches.size)
        return cohort_driver.batch_stream(students, training, data_seed=job.data_seed, others=others)

    def _runs(
        self,
        jobs: Sequence[RunJob],
        data: TokenizedTask,
        epochs: Mapping[StageBatches, BatchStream],
        *,
        examples: int,
    ) -> BuiltRuns[RunJob]:
        """Build the runs, and restore those that have checkpoints. `epochs`: by `RunJob.epoch_batches`."""
        sources, built = SourceModels(self.plan), BuiltRuns[RunJob]()

        def build(job: RunJob) -> Run:
            return prepare(job, self.plan, self.context, sources, data, epochs[job.epoch_batches], examples)

        for job in jobs:
            built.add(job, build)
        if augmented := jobs[0].augmented:
            summary = augmented_data.about(augmented).model_dump(include={"rows", "fingerprint"})
            for run in built.runs:
                run.notes["augmentation"] = summary
        cohort_driver.resume(built.runs, self._checkpoint)
        return built

    def cache_outputs(self, teacher: TeacherJob, users: Sequence[RunJob]) -> None:
        """Compute the missing cached outputs of a teacher that the runs `users` need, in one pass.

        The first cohort that reads them is charged for the pass.
        """
        first = users[0]
        tokenizers = [first.tokenizer_ref, teacher.tokenizer_ref]
        _, data = self.tokenized.of(first.data, tokenizers, first.training.max_length)
        teacher_cache.complete(
            teacher_cache.output_store(teacher, data, self.plan.spec, self.device),
            teacher_cache.needed_outputs(teacher, [*self.missing, *users], data.tokenizer_id),
            lambda: self._loaded(teacher, data),
            spec=self.plan.spec,
            context=self.context,
        )

    def _loaded(self, job: TeacherJob, data: TokenizedTask) -> Teacher:
        model = teacher_runs.load(job, trust_remote_code=self.context.trust_remote_code)
        return Teacher(job.name, model, data.tokenizer_id, self.device)

    def _checkpoint(self, run: Run) -> Path:
        return self.context.store.checkpoint(run.id.key, self.studies.get(run.id.key))

    def _teacher(
        self, name: str, job: TeacherJob, data: TokenizedTask, jobs: Sequence[RunJob], runs: Sequence[Run]
    ) -> Teacher | CachedTeacher:
        """The teacher that the runs call `name`: the model if that is the name of its job, else its cached outputs."""
        return self._loaded(job, data) if name == job.name else self._cached(name, job, data, jobs, runs)

    def _cached(
        self,
        name: str,
        job: TeacherJob,
        data: TokenizedTask,
        jobs: Sequence[RunJob],
        runs: Sequence[Run],
    ) -> CachedTeacher:
        """Open a teacher's cached outputs, after one pass that computes all outputs that runs of the suite need.

        The runs of this cohort that use the teacher share the cost of the pass.
        """
        spec = self.plan.spec
        source, filled = teacher_cache.open_outputs(
            teacher_cache.output_store(job, data, spec, self.device),
            teacher_cache.needed_outputs(job, [*self.missing, *jobs], data.tokenizer_id),
            name,
            lambda: self._loaded(job, data),
            spec=spec,
            context=self.context,
        )
        if filled.forwards:
            users = [run for run in runs if not run.ended and name in run.teachers]
            for run in users:
                run.cost.charge_filling(filled.seconds, passes=filled.forwards, among=len(users))
                # Without this checkpoint, a kill before the first regular one would lose the cost of the pass.
                run_checkpoints.save(run, self._checkpoint(run))
        return source


def _memory_message(job: RunJob, reason: str) -> str:
    return (
        f"out of memory before the first step of {job.planned.label} on {job.planned.student}, {job.planned.task}:"
        f" the models of the student and its teachers do not fit. Use smaller models, or set teacher_cache.max_gb"
        f" to 0 if cached teacher outputs take the memory ({reason})"
    )


def _teachers(jobs: Sequence[RunJob]) -> dict[str, TeacherJob]:
    """The teachers of all runs, by the name that the runs use for them."""
    return {name: teacher for job in jobs for name, teacher in zip(job.sources, job.teachers, strict=True)}
