"""The local engine: what comes before all tasks, then the teachers, then the cohorts, one after another in this
process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from harness.api.errors import UserError
from harness.api.events import RunFinished, RunId
from harness.execution import augmented_data, run_records, teacher_runs, text_students
from harness.execution.cohort_driver import StudentCohorts
from harness.execution.signals import Interrupted, stop_on_signals
from harness.execution.student_runs import finish
from harness.execution.tokenized_tasks import TokenizedTasks
from harness.planning import Plan, RunJob, TeacherJob, pending
from harness.planning.jobs import AugmentationJob
from harness.plugin_host.host import Host
from harness.storage.records import RunRecord, TeacherRecord
from harness.storage.store import Store
from harness.tasks.example_texts import validation_texts
from harness.training.cohort import Teacher
from harness.training.scoring import score

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass
class Outcome:
    """What came of it. `failed` holds the records of runs that failed now."""

    failed: list[RunRecord] = field(default_factory=list)
    interrupted: bool = False


def execute(plan: Plan, store: Store, host: Host) -> Outcome:
    """Train what is missing, and store each result as it comes.

    Raises:
        UserError: a teacher failed, or is below its floor.
    """
    with stop_on_signals() as stop:
        return _Engine(plan, store, host, stop).execute()


class _Engine:
    def __init__(self, plan: Plan, store: Store, host: Host, stop: Callable[[], bool]) -> None:
        self.plan = plan
        self.store = store
        self.stop = stop
        self.host = host
        self.device = torch.device(plan.device)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)  # which events and pinned memory go by
        self.outcome = Outcome()
        self.readings = TokenizedTasks()

    def execute(self) -> Outcome:
        missing = pending(self.plan, self.store)
        needed = {teacher.key for job in missing for teacher in (job.source, *job.teachers) if teacher is not None}
        try:
            self._generals(missing)
            # Before the teachers, since a model that is none ends the suite.
            made = {job.key: self._augment(job) for job in self.plan.augmentations(missing)}
            for job in self.plan.teachers:
                self._teacher(job, needed=job.key in needed)
            cohorts = StudentCohorts(self.plan, self.store, self.host, self.readings, made, missing, self.stop)
            settled = self._settling(cohorts)
            for jobs in self.plan.cohorts(missing):
                for ended in cohorts.train(settled(jobs)):
                    record = finish(ended, self.plan, self.store, self.host)
                    if record.status == "failed":
                        self.outcome.failed.append(record)
        except Interrupted:
            self.outcome.interrupted = True
        return self.outcome

    def _settling(self, cohorts: StudentCohorts) -> Callable[[Sequence[RunJob]], Sequence[RunJob]]:
        """Gives the runs of a task as they are to be trained: with the values that were chosen for their rows."""
        if self.plan.spec.tuning is None:
            return lambda jobs: jobs
        from harness.execution.tuning import Tuning  # with Optuna, which most suites do without

        return Tuning(cohorts).settled

    def _generals(self, missing: Sequence[RunJob]) -> None:
        """Before all else: what students begin with does not depend on any task."""
        text_students.make(
            self.plan.generals(missing),
            self.store,
            host=self.host,
            device=self.device,
            trust=self.plan.spec.trust_remote_code,
            stop=self.stop,
        )

    def _augment(self, job: AugmentationJob) -> augmented_data.AugmentedData:
        trust = self.plan.spec.trust_remote_code
        return augmented_data.make(job, self.device, host=self.host, trust_remote_code=trust, stop=self.stop)

    def _teacher(self, job: TeacherJob, *, needed: bool) -> None:
        """Fine-tune and score a teacher, unless that is done; and hold it to its floor."""
        record = self.store.teacher(job.key)
        answers: DataFrame | None = None
        scored = record is not None and record.data_fingerprint == job.data.validation_fingerprint
        if record is None or not scored or (needed and not teacher_runs.is_kept(job)):
            record, answers = self._train_teacher(job)
        limit = self.plan.spec.training.limit
        floor = None if limit.train or limit.validation else job.spec.floor.get(job.data.task.name)
        self.store.save_examples(job.data.validation_fingerprint, lambda: validation_texts(job.data.splits))
        if answers is not None or record.floor != floor:
            self.store.save_teacher(record.model_copy(update={"floor": floor}), answers)
        if floor is not None and record.score is not None:
            _hold_to(floor, record.score, job)

    def _train_teacher(self, job: TeacherJob) -> tuple[TeacherRecord, DataFrame]:
        """Its record, and what it predicts."""
        spec, data = self.plan.spec, job.data
        readers = [member.reader for member in job.group.members] if job.group else [job.reader]
        fit = teacher_runs.fine_tune(
            job,
            lambda: self.readings.of(data, readers, job.training.max_length),
            host=self.host,
            device=self.device,
            trust_remote_code=spec.trust_remote_code,
            stop=self.stop,
        )
        teacher = Teacher(job.name, teacher_runs.load(job), job.reader.fingerprint, self.device)
        (encoded,) = self.readings.of(data, [job.reader], job.training.max_length)
        scored = score(teacher.capture, encoded, self.host.metrics, device=self.device)
        record = TeacherRecord(
            key=job.key,
            name=job.row,
            model=job.spec.model or "from scratch",
            task=data.task.name,
            seed=job.spec.seed,
            data_fingerprint=data.validation_fingerprint,
            score=scored.score,
            metrics=scored.metrics,
            parts=dict(job.parts),
            losses=fit.losses,
            cost=fit.cost,
            size=run_records.size(teacher.model, job.name, tokens=spec.training.on(data.task.name).max_length),
            provenance=fit.provenance,
        )
        run_id = RunId(job.key, data.task.name, job.row, "", job.spec.seed, role="teacher")
        event = RunFinished(run_id, scored.score, dict(scored.metrics), fit.cost.wall_seconds)
        self.host.notify("harness_run_finished", event)
        return record, scored.frame


def _hold_to(floor: float, score: float, job: TeacherJob) -> None:
    """Raises `UserError` for a teacher's score on the wrong side of its floor."""
    task = job.data.task
    if not (score >= floor if task.higher_is_better else score <= floor):  # also where it is undefined, NaN
        side, remedy = ("below", "lower") if task.higher_is_better else ("where less is better, above", "raise")
        raise UserError(
            f"teacher {job.name} scores {score:.4f} ({task.score}) on {task.name}, {side} its floor of"
            f" {floor:g}: train it better (teachers.{job.alone.row}.epochs, .lr), or {remedy}"
            f" teachers.{job.alone.row}.floor.{task.name}"
        )
