"""The local engine: what comes before all tasks, then the teachers, then the cohorts, one after another in this
process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from harness.engines import augmenting, general, shelves, teachers
from harness.engines.interrupts import stop_on_signals
from harness.engines.readings import Readings
from harness.engines.students import Sources, finish, prepare
from harness.errors import UserError
from harness.events import RunFinished, RunId
from harness.plan import Plan, RunJob, TeacherJob, pending
from harness.plan.jobs import AugmentationJob
from harness.results import provenance
from harness.results.records import RunRecord, TeacherRecord
from harness.results.store import Store
from harness.training import accounts, checkpoints
from harness.training.cohort import Cohort, Teacher
from harness.training.data import EncodedTask, Stream
from harness.training.evaluate import score
from harness.training.kept import KeptTeacher
from harness.training.run import Run

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass
class Outcome:
    """What came of it. `failed` holds the records of runs that failed now."""

    failed: list[RunRecord] = field(default_factory=list)
    interrupted: bool = False


def execute(plan: Plan, store: Store) -> Outcome:
    """Train what is missing, and store each result as it comes.

    Raises:
        UserError: a teacher failed, or is below its floor.
    """
    with stop_on_signals() as stop:
        return _Engine(plan, store, stop).execute()


class _Engine:
    def __init__(self, plan: Plan, store: Store, stop: Callable[[], bool]) -> None:
        self.plan = plan
        self.store = store
        self.stop = stop
        self.host = plan.resolved.suite.host
        self.device = torch.device(plan.device)
        self.outcome = Outcome()
        self.made: dict[str, augmenting.Made] = {}
        self.readings = Readings()
        self.missing: Sequence[RunJob] = ()

    def execute(self) -> Outcome:
        missing = self.missing = pending(self.plan, self.store)
        needed = {teacher.key for job in missing for teacher in (job.source, *job.teachers) if teacher is not None}
        try:
            self._generals(missing)
            for augmented in self.plan.augmentations(missing):  # first, since a model that is none ends the suite
                self.made[augmented.key] = self._augment(augmented)
            for job in self.plan.teachers:
                self._teacher(job, needed=job.key in needed)
            for jobs in self.plan.cohorts(missing):
                while jobs:
                    jobs = self._cohort(jobs)
        except teachers.Interrupted:
            self.outcome.interrupted = True
        return self.outcome

    def _generals(self, missing: Sequence[RunJob]) -> None:
        """Before all else: what students begin with does not depend on any task."""
        general.make(
            self.plan.generals(missing),
            self.store,
            host=self.host,
            device=self.device,
            trust=self.plan.spec.trust_remote_code,
            stop=self.stop,
        )

    def _augment(self, job: AugmentationJob) -> augmenting.Made:
        trust = self.plan.spec.trust_remote_code
        return augmenting.make(job, self.device, trust_remote_code=trust, stop=self.stop)

    def _teacher(self, job: TeacherJob, *, needed: bool) -> None:
        """Fine-tune and score a teacher, unless that is done; and hold it to its floor."""
        record = self.store.teacher(job.key)
        answers: DataFrame | None = None
        scored = record is not None and record.data_fingerprint == job.data.validation_fingerprint
        if record is None or not scored or (needed and not teachers.is_kept(job)):
            record, answers = self._train_teacher(job)
        limit = self.plan.spec.training.limit
        floor = None if limit.train or limit.validation else job.spec.floor.get(job.data.task.name)
        self.store.save_teacher(record.model_copy(update={"floor": floor}), answers)
        task = job.data.task
        if floor is not None and record.score is not None and record.score < floor:
            raise UserError(
                f"teacher {job.name} scores {record.score:.4f} ({task.score}) on {task.name}, below its floor of"
                f" {floor:g}: train it better (teachers.{job.alone.name}.epochs, .lr), or lower"
                f" teachers.{job.alone.name}.floor.{task.name}"
            )

    def _train_teacher(self, job: TeacherJob) -> tuple[TeacherRecord, DataFrame]:
        """Its record, and what it predicts."""
        spec, data = self.plan.spec, job.data
        readers = [member.reader for member in job.group.members] if job.group else [job.reader]
        fit = teachers.fine_tune(
            job,
            lambda: self.readings.of(data, readers, job.training.max_length),
            host=self.host,
            device=self.device,
            trust_remote_code=spec.trust_remote_code,
            stop=self.stop,
        )
        teacher = Teacher(job.name, teachers.load(job), job.reader.fingerprint, self.device)
        (encoded,) = self.readings.of(data, [job.reader], job.training.max_length)
        scored = score(
            teacher.capture, encoded, self.host.metrics, batch_size=job.training.batch_size, device=self.device
        )
        record = TeacherRecord(
            key=job.key,
            name=job.name,
            model=job.spec.model or "from scratch",
            task=data.task.name,
            data_fingerprint=data.validation_fingerprint,
            score=scored.score,
            metrics=scored.metrics,
            parts=dict(job.parts),
            losses=fit.losses,
            cost=fit.cost,
            size=accounts.size(teacher.model, job.name, tokens=spec.training.max_length),
            provenance=fit.provenance,
        )
        run_id = RunId(job.key, data.task.name, job.name, "", job.spec.seed, role="teacher")
        event = RunFinished(run_id, scored.score, dict(scored.metrics), fit.cost.wall_seconds)
        self.host.notify("harness_run_finished", event)
        return record, scored.frame

    def _load(self, job: TeacherJob, reading: EncodedTask) -> Teacher:
        return Teacher(job.name, teachers.load(job), reading.reader, self.device)

    def _source(
        self, name: str, job: TeacherJob, reading: EncodedTask, runs: Sequence[Run], forwards: Counter[str]
    ) -> KeptTeacher:
        """A teacher's kept tensors: all that is missing for any run of the suite is filled in at once, at the expense
        of those of `runs` that read them."""
        readers = [run for run in runs if name in run.teachers and not run.ended]
        source, filled = shelves.open_shelf(
            shelves.shelf(job, reading, self.plan.spec, self.device),
            shelves.asked(job, self.missing, reading.reader),
            name,
            lambda: self._load(job, reading),
            spec=self.plan.spec,
            device=self.device,
            stop=self.stop,
        )
        forwards[name] += filled.forwards
        for run in readers:
            run.charge_filling(filled.seconds, among=len(readers))
        return source

    def _cohort(self, jobs: Sequence[RunJob]) -> list[RunJob]:
        """Train runs side by side, and store each as it ends. Gives those that memory had no room for beside the
        others: they go on by themselves."""
        by_key = {job.planned.key: job for job in jobs}
        first, settings = jobs[0], self.plan.spec.training
        used = {name: teacher for job in jobs for name, teacher in zip(job.sources, job.teachers, strict=True)}
        readers = [first.reader, *(teacher.reader for teacher in used.values())]
        students, *others = self.readings.of(first.data, readers, settings.max_length, first.augmented)
        stream = Stream(
            students,
            batch_size=settings.batch_size,
            token_budget=settings.token_budget,
            data_seed=first.data_seed,
            others={other.reader: other for other in others},
        )
        originals, *_ = self.readings.of(first.data, readers, settings.max_length)  # which set the length of a run
        batches_per_epoch = Stream(
            originals, batch_size=settings.batch_size, token_budget=settings.token_budget, data_seed=first.data_seed
        ).batches_per_epoch
        started, sources = provenance.now(), Sources(self.plan)
        runs = [prepare(job, self.plan, sources, batches_per_epoch, self.device) for job in jobs]
        for run in runs:
            if first.augmented:
                run.notes["augmentation"] = self.made[first.augmented.key].model_dump(include={"rows", "fingerprint"})
            if not run.ended:
                checkpoints.restore(run, self.store.checkpoint(run.id.key))
            accounts.announce(self.host, run, cohort=len(runs))
        forwards: Counter[str] = Counter()
        taught = {
            name: self._source(name, job, reading, runs, forwards) if name != job.name else self._load(job, reading)
            for (name, job), reading in zip(used.items(), others, strict=True)
        }
        cohort = Cohort(stream, taught, runs, self.device, forwards)
        ended = cohort.train(
            stop=self.stop, checkpoint=lambda run: checkpoints.save(run, self.store.checkpoint(run.id.key))
        )
        for run in ended:
            record = finish(run, by_key[run.id.key], cohort, students, self.plan, self.store, started)
            if record.status == "failed":
                self.outcome.failed.append(record)
        if self.stop() and not all(run.ended for run in runs):
            raise teachers.Interrupted
        return [by_key[run.id.key] for run in cohort.apart]
