"""Cohorts of runs: what they read and who teaches them, then their training, then a record of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from harness.engines import augmenting, shelves, teachers
from harness.engines.readings import Readings
from harness.engines.students import Ended, Sources, prepare
from harness.plan import Plan, RunJob, TeacherJob
from harness.results import provenance
from harness.results.store import Store
from harness.training import accounts, checkpoints
from harness.training.cohort import Cohort, Teacher
from harness.training.data import EncodedTask, Stream
from harness.training.kept import KeptTeacher
from harness.training.run import Run


@dataclass(frozen=True)
class Cohorts:
    """Trains the runs of a plan. `made` says of each augmentation what came of it; `missing` are all runs that are
    still to be trained, whose teachers' tensors are filled in together."""

    plan: Plan
    store: Store
    readings: Readings
    made: Mapping[str, augmenting.Made]
    missing: Sequence[RunJob]
    stop: Callable[[], bool]

    @property
    def device(self) -> torch.device:
        return torch.device(self.plan.device)

    def train(self, jobs: Sequence[RunJob]) -> Iterator[Ended]:
        """Train runs side by side, and give each as it ends. Those that memory has no room for beside the others go
        on by themselves.

        Raises:
            teachers.Interrupted: it was told to stop; what has not ended has a checkpoint.
        """
        by_key = {job.planned.key: job for job in jobs}
        while jobs:
            started, forwards = provenance.now(), Counter[str]()
            stream, reading, others = self._batches(jobs)
            runs = self._runs(jobs, stream, reading)
            taught = self._teachers(jobs, others, runs, forwards)
            cohort = Cohort(stream, taught, runs, self.device, forwards)
            for run in cohort.train(stop=self.stop, checkpoint=self._checkpoint):
                yield Ended(run, by_key[run.id.key], cohort, reading, started)
            if self.stop() and not all(run.ended for run in runs):
                raise teachers.Interrupted
            jobs = [by_key[run.id.key] for run in cohort.apart]

    def _batches(self, jobs: Sequence[RunJob]) -> tuple[Stream, EncodedTask, list[EncodedTask]]:
        """What the runs see, how students read it, and how each of their teachers does."""
        first, settings = jobs[0], self.plan.spec.training
        readers = [first.reader, *(teacher.reader for teacher in _teachers(jobs).values())]
        students, *others = self.readings.of(first.data, readers, settings.max_length, first.augmented)
        return self._stream(jobs, students, {other.reader: other for other in others}), students, others

    def _stream(self, jobs: Sequence[RunJob], students: EncodedTask, others: Mapping[str, EncodedTask]) -> Stream:
        settings = self.plan.spec.training
        return Stream(
            students,
            batch_size=settings.batch_size,
            token_budget=settings.token_budget,
            data_seed=jobs[0].data_seed,
            others=others,
        )

    def _runs(self, jobs: Sequence[RunJob], stream: Stream, reading: EncodedTask) -> list[Run]:
        """Each at its first step, or where it was interrupted."""
        first, sources = jobs[0], Sources(self.plan)
        if first.augmented:  # The task's own data set the length of a run, whatever it learns from.
            originals, *_ = self.readings.of(first.data, [first.reader], self.plan.spec.training.max_length)
            stream = self._stream(jobs, originals, {})
        runs = [prepare(job, self.plan, sources, reading, stream.batches_per_epoch, self.device) for job in jobs]
        for run in runs:
            if first.augmented:
                run.notes["augmentation"] = self.made[first.augmented.key].model_dump(include={"rows", "fingerprint"})
            if not run.ended:
                checkpoints.restore(run, self.store.checkpoint(run.id.key))
            accounts.announce(self.plan.resolved.suite.host, run, cohort=len(runs))
        return runs

    def _checkpoint(self, run: Run) -> None:
        checkpoints.save(run, self.store.checkpoint(run.id.key))

    def _teachers(
        self, jobs: Sequence[RunJob], readings: Sequence[EncodedTask], runs: Sequence[Run], forwards: Counter[str]
    ) -> dict[str, Teacher | KeptTeacher]:
        """By what the runs call them, each with its reading."""
        return {
            name: self._kept(name, job, reading, jobs, runs, forwards)
            if name != job.name
            else _load(job, reading, self.device)
            for (name, job), reading in zip(_teachers(jobs).items(), readings, strict=True)
        }

    def _kept(
        self,
        name: str,
        job: TeacherJob,
        reading: EncodedTask,
        jobs: Sequence[RunJob],
        runs: Sequence[Run],
        forwards: Counter[str],
    ) -> KeptTeacher:
        """A teacher's kept tensors: all that is missing for any run of the suite, or for these `jobs`, is filled in at
        once, at the expense of those of `runs` that read them."""
        readers = [run for run in runs if name in run.teachers and not run.ended]
        source, filled = shelves.open_shelf(
            shelves.shelf(job, reading, self.plan.spec, self.device),
            shelves.asked(job, [*self.missing, *jobs], reading.reader),
            name,
            lambda: _load(job, reading, self.device),
            spec=self.plan.spec,
            host=self.plan.resolved.suite.host,
            device=self.device,
            stop=self.stop,
        )
        forwards[name] += filled.forwards
        for run in readers:
            run.spent.charge_filling(filled.seconds, among=len(readers))
        return source


def _teachers(jobs: Sequence[RunJob]) -> dict[str, TeacherJob]:
    """Of all the runs, by what they call them."""
    return {name: teacher for job in jobs for name, teacher in zip(job.sources, job.teachers, strict=True)}


def _load(job: TeacherJob, reading: EncodedTask, device: torch.device) -> Teacher:
    return Teacher(job.name, teachers.load(job), reading.reader, device)
