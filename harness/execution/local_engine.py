"""The local engine: executes text stages, augmentations, teachers and cohorts one after another in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from harness.api.errors import UserError
from harness.api.events import RunFinished, RunId
from harness.execution import augmented_data, run_records, teacher_runs, text_students
from harness.execution.context import JobContext
from harness.execution.signals import Interrupted, stop_on_signals
from harness.execution.student_cohorts import StudentCohorts
from harness.execution.student_runs import finish
from harness.execution.tokenized_tasks import TokenizedTasks
from harness.planning import Plan, RunJob, TeacherJob, pending
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
    """The outcome of an execution. `failed` holds the records of the runs that failed during it."""

    failed: list[RunRecord] = field(default_factory=list)
    interrupted: bool = False


def execute(plan: Plan, store: Store, host: Host) -> Outcome:
    """Train all missing teachers and runs of a plan, and store each result as soon as it is available.

    Raises:
        UserError: a teacher failed, or its score does not reach its floor.
    """
    device = torch.device(plan.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # events and pinned memory use the current device
    with stop_on_signals() as stop:
        return _Engine(plan, JobContext(store, host, device, plan.spec.trust_remote_code, stop)).execute()


class _Engine:
    def __init__(self, plan: Plan, context: JobContext) -> None:
        self.plan = plan
        self.context = context
        self.store = context.store
        self.outcome = Outcome()
        self.tokenized = TokenizedTasks()

    def execute(self) -> Outcome:
        missing = pending(self.plan, self.store)
        needed = {teacher.key for job in missing for teacher in (job.source, *job.teachers) if teacher is not None}
        try:
            text_students.make(self.plan.generals(missing), self.context)
            # Before the teachers: a model that is no language model raises an error, before any time is spent on them.
            augmented = {job.key: augmented_data.make(job, self.context) for job in self.plan.augmentations(missing)}
            for job in self.plan.teachers:
                self._teacher(job, needed=job.key in needed)
            cohorts = StudentCohorts(self.plan, self.context, self.tokenized, augmented, missing)
            with_tuned_values = self._tuning(cohorts)
            for jobs in self.plan.cohorts(missing):
                for student in cohorts.train(with_tuned_values(jobs)):
                    record = finish(student, self.plan, self.context)
                    if record.status == "failed":
                        self.outcome.failed.append(record)
        except Interrupted:
            self.outcome.interrupted = True
        return self.outcome

    def _tuning(self, cohorts: StudentCohorts) -> Callable[[Sequence[RunJob]], Sequence[RunJob]]:
        """Return a function that gives runs of a task the tuned values of their rows."""
        if self.plan.spec.tuning is None:
            return lambda jobs: jobs
        from harness.execution.tuning import Tuning  # imports Optuna, which only suites with tuning need

        return Tuning(cohorts).settled

    def _teacher(self, job: TeacherJob, *, needed: bool) -> None:
        """Fine-tune and score a teacher unless the store has its record, and check its score against its floor."""
        record = self.store.teacher(job.key)
        predictions: DataFrame | None = None
        scored = record is not None and record.data_fingerprint == job.data.validation_fingerprint
        if record is None or not scored or (needed and not teacher_runs.is_kept(job)):
            record, predictions = self._train_teacher(job)
        limit = self.plan.spec.training.limit
        floor = None if limit.train or limit.validation else job.spec.floor.get(job.data.task.name)
        self.store.save_examples(job.data.validation_fingerprint, lambda: validation_texts(job.data.splits))
        if predictions is not None or record.floor != floor:
            self.store.save_teacher(record.model_copy(update={"floor": floor}), predictions)
        if floor is not None and record.score is not None:
            _check_floor(floor, record.score, job)

    def _train_teacher(self, job: TeacherJob) -> tuple[TeacherRecord, DataFrame]:
        """Fine-tune and score a teacher. Returns its record and its predictions."""
        spec, data = self.plan.spec, job.data
        tokenizers = [member.reader for member in job.group.members] if job.group else [job.reader]
        fit = teacher_runs.fine_tune(
            job, lambda: self.tokenized.of(data, tokenizers, job.training.max_length), self.context
        )
        device, host = self.context.device, self.context.host
        teacher = Teacher(job.name, teacher_runs.load(job), job.reader.fingerprint, device)
        (encoded,) = self.tokenized.of(data, [job.reader], job.training.max_length)
        scored = score(teacher.capture, encoded, host.metrics, device=device)
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
        host.notify("harness_run_finished", event)
        return record, scored.frame


def _check_floor(floor: float, score: float, job: TeacherJob) -> None:
    """Raise `UserError` if a teacher's score is worse than its floor."""
    task = job.data.task
    if not (score >= floor if task.higher_is_better else score <= floor):  # true for NaN as well
        side, remedy = ("below", "lower") if task.higher_is_better else ("where less is better, above", "raise")
        raise UserError(
            f"teacher {job.name} scores {score:.4f} ({task.score}) on {task.name}, {side} its floor of"
            f" {floor:g}: train it better (teachers.{job.alone.row}.epochs, .lr), or {remedy}"
            f" teachers.{job.alone.row}.floor.{task.name}"
        )
