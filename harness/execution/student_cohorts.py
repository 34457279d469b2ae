"""Cohorts of students: their batches, their teachers, and their training side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from harness.api.errors import UserError
from harness.api.stage_settings import StageData
from harness.execution import augmented_data, cohort_driver, run_checkpoints, teacher_cache, teacher_runs
from harness.execution.context import JobContext
from harness.execution.student_runs import FinishedStudent, SourceModels, prepare
from harness.execution.tokenized_tasks import TokenizedTasks
from harness.planning import Plan, RunJob, TeacherJob
from harness.planning.jobs import TokenizerRef
from harness.teacher_outputs.output_store import CachedTeacher
from harness.training import micro_batching
from harness.training.batch_stream import BatchStream, TokenizedTask
from harness.training.cohort import Cohort, Teacher
from harness.training.run import Run
from harness.training.staged_stream import BatchSource, StagedStream


@dataclass(frozen=True)
class StudentCohorts:
    """Trains the runs of a plan.

    Attributes:
        augmented: what each augmentation made, by the key of its job.
        missing: all runs that are still to be trained: their teachers' outputs are computed in one pass.
    """

    plan: Plan
    context: JobContext
    tokenized: TokenizedTasks
    augmented: Mapping[str, augmented_data.AugmentedData]
    missing: Sequence[RunJob]

    @property
    def device(self) -> torch.device:
        return self.context.device

    def train(self, jobs: Sequence[RunJob]) -> Iterator[FinishedStudent]:
        """Train runs side by side, and yield each as it ends.

        Where memory does not suffice for all models at once, half of the runs are trained after the others; a run for
        which it does not suffice next to others continues alone.

        Raises:
            Interrupted: the process was asked to stop; unfinished runs have checkpoints.
            UserError: memory does not suffice for the models of a single run.
        """
        parts = [list(jobs)]
        while parts:
            part = parts.pop(0)
            by_key = {job.planned.key: job for job in part}
            try:
                with micro_batching.convert_memory_errors():
                    cohort, data = self._cohort(part)
            except micro_batching.InsufficientMemory as error:
                parts[:0] = _halves(part, str(error))
                continue
            for finished in cohort_driver.train(cohort, self._checkpoint, self.context):
                yield FinishedStudent(finished, by_key[finished.run.id.key], data)
            if cohort.deferred:
                parts.insert(0, [by_key[run.id.key] for run in cohort.deferred])
            del cohort  # with all of its models, before those of the next one are loaded

    def _cohort(self, jobs: Sequence[RunJob]) -> tuple[Cohort, TokenizedTask]:
        """The cohort of runs that see the same batches, and the task as the students' tokenizer reads it."""
        first, teachers = jobs[0], _teachers(jobs)
        tokenizers = [first.reader, *(teacher.reader for teacher in teachers.values())]
        stream, data, teacher_data = self._stream(first, tokenizers, augmented=True)
        # An epoch is one pass over the task's own examples, whatever data a run trains on.
        several = len(set(first.stage_data)) > 1
        own = self._stream(first, tokenizers if several else tokenizers[:1])[0] if first.augmented else stream
        runs = self._runs(jobs, own.batches_per_epoch, data)
        batches: BatchSource = stream
        if several:
            streams: dict[StageData, BatchStream] = {"task": own, "augmented": stream}
            batches = StagedStream([streams[stage] for stage in first.stage_data], runs[0].lengths)
        sources = {
            name: self._teacher(name, job, tokenized, jobs, runs)
            for (name, job), tokenized in zip(teachers.items(), teacher_data, strict=True)
        }
        return Cohort(batches, sources, runs, self.device), data

    def _stream(
        self, job: RunJob, tokenizers: Sequence[TokenizerRef], *, augmented: bool = False
    ) -> tuple[BatchStream, TokenizedTask, list[TokenizedTask]]:
        """The batches of runs like `job`, and the task as the students' and each teacher's tokenizer reads it."""
        rows = job.augmented if augmented else None
        students, *teachers = self.tokenized.of(job.data, tokenizers, job.training.max_length, rows)
        others = {teacher.tokenizer_id: teacher for teacher in teachers}
        stream = cohort_driver.batch_stream(students, job.training, data_seed=job.data_seed, others=others)
        return stream, students, teachers

    def _runs(self, jobs: Sequence[RunJob], batches_per_epoch: int, data: TokenizedTask) -> list[Run]:
        """Each run at its first step, or where its checkpoint continues."""
        sources = SourceModels(self.plan)
        runs = [prepare(job, self.plan, self.context, sources, data, batches_per_epoch) for job in jobs]
        if job := jobs[0].augmented:
            made = self.augmented[job.key].model_dump(include={"rows", "fingerprint"})
            for run in runs:
                run.notes["augmentation"] = made
        return cohort_driver.resume(runs, self._checkpoint, self.context.host)

    def _checkpoint(self, run: Run) -> Path:
        return self.context.store.checkpoint(run.id.key)

    def _teacher(
        self, name: str, job: TeacherJob, data: TokenizedTask, jobs: Sequence[RunJob], runs: Sequence[Run]
    ) -> Teacher | CachedTeacher:
        """A teacher by the name that the runs have for it: the model, or its cached outputs where that is another name
        than the job's."""

        def load() -> Teacher:
            return Teacher(job.name, teacher_runs.load(job), data.tokenizer_id, self.device)

        return load() if name == job.name else self._cached(name, job, data, load, jobs, runs)

    def _cached(
        self,
        name: str,
        job: TeacherJob,
        data: TokenizedTask,
        load: teacher_cache.LoadTeacher,
        jobs: Sequence[RunJob],
        runs: Sequence[Run],
    ) -> CachedTeacher:
        """A teacher's cached outputs. All that is missing for any run of the suite is computed in one pass, whose cost
        the runs of this cohort that read it share."""
        spec = self.plan.spec
        source, filled = teacher_cache.open_outputs(
            teacher_cache.output_store(job, data, spec, self.device),
            teacher_cache.needed_outputs(job, [*self.missing, *jobs], data.tokenizer_id),
            name,
            load,
            spec=spec,
            context=self.context,
        )
        if filled.forwards:
            waiting = [run for run in runs if not run.ended]
            readers = [run for run in waiting if name in run.teachers]
            for run in readers:
                run.cost.charge_filling(filled.seconds, among=len(readers))
            for run in waiting:
                run.cost.teacher_forwards += filled.forwards
                # Without this checkpoint, a kill before the first regular one would lose the cost of the pass.
                run_checkpoints.save(run, self._checkpoint(run))
        return source


def _halves(jobs: list[RunJob], reason: str) -> list[list[RunJob]]:
    """Runs for which memory does not suffice together, in two parts."""
    if len(jobs) == 1:
        (job,) = jobs
        raise UserError(
            f"out of memory before the first step of {job.planned.label} on {job.planned.student}, {job.planned.task}:"
            f" the models of the student and its teachers do not fit. Use smaller models, or set teacher_cache.max_gb"
            f" to 0 if cached teacher outputs take the memory ({reason})"
        )
    middle = len(jobs) // 2
    return [jobs[:middle], jobs[middle:]]


def _teachers(jobs: Sequence[RunJob]) -> dict[str, TeacherJob]:
    """The teachers of all runs, by the name that the runs have for them."""
    return {name: teacher for job in jobs for name, teacher in zip(job.sources, job.teachers, strict=True)}
