"""Cohorts of runs: what they read and who teaches them, then their training, then a record of each."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from harness.api.errors import UserError
from harness.api.stage_settings import StageData
from harness.execution import augmented_data, run_checkpoints, run_records, teacher_cache
from harness.execution import teacher_runs as teachers
from harness.execution.signals import Interrupted
from harness.execution.student_runs import FinishedRun, Sources, prepare
from harness.execution.tokenized_tasks import TokenizedTasks
from harness.planning import Plan, RunJob, TeacherJob
from harness.planning.jobs import AugmentationJob, TokenizerRef
from harness.plugin_host.host import Host
from harness.storage import provenance
from harness.storage.store import Store
from harness.teacher_outputs.output_store import CachedTeacher
from harness.training import micro_batching
from harness.training.batch_stream import BatchStream, TokenizedTask
from harness.training.cohort import Cohort, Teacher
from harness.training.run import Run
from harness.training.staged_stream import BatchSource, StagedStream


@dataclass(frozen=True)
class StudentCohorts:
    """Trains the runs of a plan. `made` says of each augmentation what came of it; `missing` are all runs that are
    still to be trained, whose teachers' tensors are filled in together."""

    plan: Plan
    store: Store
    host: Host
    readings: TokenizedTasks
    made: Mapping[str, augmented_data.AugmentedData]
    missing: Sequence[RunJob]
    stop: Callable[[], bool]

    @property
    def device(self) -> torch.device:
        return torch.device(self.plan.device)

    def train(self, jobs: Sequence[RunJob]) -> Iterator[FinishedRun]:
        """Train runs side by side, and give each as it ends. Those that memory has no room for beside the others go
        on by themselves; if it has none for all models at once, half of the runs come after the others.

        Raises:
            Interrupted: it was told to stop; what has not ended has a checkpoint.
            UserError: memory has no room for the models of a single run.
        """
        parts = [list(jobs)]
        while parts:
            jobs, started = parts.pop(0), provenance.now()
            try:
                with micro_batching.convert_memory_errors():
                    cohort, reading = self._cohort(jobs)
            except micro_batching.InsufficientMemory as error:
                parts[:0] = _halves(jobs, str(error))
                continue
            apart = yield from self._trained(jobs, cohort, reading, started)
            del cohort  # with all of its models, before the next one is made
            if apart:
                parts.insert(0, apart)

    def _trained(
        self, jobs: Sequence[RunJob], cohort: Cohort, reading: TokenizedTask, started: str
    ) -> Generator[FinishedRun, None, list[RunJob]]:
        """Gives the runs as they end; returns those that go on by themselves."""
        by_key, size = {job.planned.key: job for job in jobs}, len(cohort.runs)
        for run in cohort.train(stop=self.stop, checkpoint=self._checkpoint):
            yield FinishedRun(run, by_key[run.id.key], size, reading, started)
            run.release()
        if self.stop() and not all(run.ended for run in cohort.runs):
            raise Interrupted
        return [by_key[run.id.key] for run in cohort.deferred]

    def _cohort(self, jobs: Sequence[RunJob]) -> tuple[Cohort, TokenizedTask]:
        """The runs, and who teaches them; and what the students read."""
        first, teachers = jobs[0], _teachers(jobs)
        readers = [first.reader, *(teacher.reader for teacher in teachers.values())]
        stream, reading, others = self._batches(first, readers, first.augmented)
        # An epoch is one of the task's own examples, whatever a run learns from.
        mixed = len(set(first.stage_data)) > 1
        own = self._batches(first, readers if mixed else readers[:1])[0] if first.augmented else stream
        runs = self._runs(jobs, own.batches_per_epoch, reading)
        batches: BatchSource = stream
        if mixed:
            streams: dict[StageData, BatchStream] = {"task": own, "augmented": stream}
            batches = StagedStream([streams[data] for data in first.stage_data], runs[0].lengths)
        return Cohort(batches, self._teachers(jobs, others, runs), runs, self.device), reading

    def _batches(
        self, job: RunJob, readers: Sequence[TokenizerRef], augmented: AugmentationJob | None = None
    ) -> tuple[BatchStream, TokenizedTask, list[TokenizedTask]]:
        """What runs like `job` see, how students read it, and how each of their teachers does."""
        students, *others = self.readings.of(job.data, readers, job.training.max_length, augmented)
        stream = BatchStream(
            students,
            batch_size=job.training.batch_size,
            token_budget=job.training.token_budget,
            batching=job.training.batching,
            data_seed=job.data_seed,
            others={other.tokenizer_id: other for other in others},
        )
        return stream, students, others

    def _runs(self, jobs: Sequence[RunJob], batches_per_epoch: int, reading: TokenizedTask) -> list[Run]:
        """Each at its first step, or where it was interrupted."""
        first, sources = jobs[0], Sources(self.plan)
        runs = [prepare(job, self.plan, self.host, sources, reading, batches_per_epoch, self.device) for job in jobs]
        for run in runs:
            if first.augmented:
                run.notes["augmentation"] = self.made[first.augmented.key].model_dump(include={"rows", "fingerprint"})
            if not run.ended:
                run_checkpoints.restore(run, self.store.checkpoint(run.id.key))
            run_records.announce(self.host, run, cohort=len(runs))
        return runs

    def _checkpoint(self, run: Run) -> None:
        run_checkpoints.save(run, self.store.checkpoint(run.id.key))

    def _teachers(
        self, jobs: Sequence[RunJob], readings: Sequence[TokenizedTask], runs: Sequence[Run]
    ) -> dict[str, Teacher | CachedTeacher]:
        """By what the runs call them, each with its reading."""
        return {
            name: self._kept(name, job, reading, jobs, runs) if name != job.name else _load(job, reading, self.device)
            for (name, job), reading in zip(_teachers(jobs).items(), readings, strict=True)
        }

    def _kept(
        self, name: str, job: TeacherJob, reading: TokenizedTask, jobs: Sequence[RunJob], runs: Sequence[Run]
    ) -> CachedTeacher:
        """A teacher's kept tensors: all that is missing for any run of the suite, or for these `jobs`, is filled in at
        once, at the expense of those of `runs` that read them."""
        waiting = [run for run in runs if not run.ended]
        source, filled = teacher_cache.open_shelf(
            teacher_cache.shelf(job, reading, self.plan.spec, self.device),
            teacher_cache.asked(job, [*self.missing, *jobs], reading.tokenizer_id),
            name,
            lambda: _load(job, reading, self.device),
            spec=self.plan.spec,
            host=self.host,
            device=self.device,
            stop=self.stop,
        )
        if filled.forwards:
            readers = [run for run in waiting if name in run.teachers]
            for run in readers:
                run.cost.charge_filling(filled.seconds, among=len(readers))
            for run in waiting:
                run.cost.teacher_forwards += filled.forwards
                self._checkpoint(run)  # or a kill before the first one would make the pass look free
        return source


def _halves(jobs: list[RunJob], reason: str) -> list[list[RunJob]]:
    """For which memory has no room at once."""
    if len(jobs) == 1:
        (job,) = jobs
        raise UserError(
            f"memory does not suffice for {job.planned.label} on {job.planned.student}, {job.planned.task}, and its"
            f" teachers, even before the first step: take smaller ones, or set teacher_cache.max_gb to 0 if it is their"
            f" kept tensors that it does not suffice for ({reason})"
        )
    middle = len(jobs) // 2
    return [jobs[:middle], jobs[middle:]]


def _teachers(jobs: Sequence[RunJob]) -> dict[str, TeacherJob]:
    """Of all the runs, by what they call them."""
    return {name: teacher for job in jobs for name, teacher in zip(job.sources, job.teachers, strict=True)}


def _load(job: TeacherJob, reading: TokenizedTask, device: torch.device) -> Teacher:
    return Teacher(job.name, teachers.load(job), reading.tokenizer_id, device)
