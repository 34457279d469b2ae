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
    """What came of it. `failed` holds the records of runs that failed now."""

    failed: list[RunRecord] = field(default_factory=list)
    interrupted: bool = False


def execute(plan: Plan, store: Store, host: Host) -> Outcome:
    """Train what is missing, and store each result as it comes.

    Raises:
        UserError: a teacher failed, or is below its floor.
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
            # Before the teachers: a model that is no language model ends the suite.
            augmented = {job.key: augmented_data.make(job, self.context) for job in self.plan.augmentations(missing)}
            for job in self.plan.teachers:
                self._teacher(job, needed=job.key in needed)
            cohorts = StudentCohorts(self.plan, self.context, self.tokenized, augmented, missing)
            settled = self._settling(cohorts)
            for jobs in self.plan.cohorts(missing):
                for student in cohorts.train(settled(jobs)):
                    record = finish(student, self.plan, self.context)
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
            job, lambda: self.tokenized.of(data, readers, job.training.max_length), self.context
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
