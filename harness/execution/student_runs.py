"""Builds the run of a student, and scores, records and exports it after its training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api.errors import one_line
from harness.api.events import RunId
from harness.api.seeds import derive
from harness.execution import device_faults, run_records, teacher_runs, text_student_files
from harness.execution.cohort_driver import FinishedRun
from harness.execution.context import JobContext
from harness.metrics.task_scores import TaskScores
from harness.models import students
from harness.models.capture import Capture
from harness.models.output_scale import in_label_unit
from harness.models.quiet_transformers import quiet_transformers
from harness.planning import Plan, RunJob, TeacherJob
from harness.planning.method_binding import with_examples
from harness.storage import atomic_writes
from harness.storage.disk_errors import is_disk_error
from harness.storage.records import Cost, RunRecord, SelectionRecord
from harness.tasks.example_texts import validation_texts
from harness.training import student_initialization
from harness.training.batch_stream import BatchStream, TokenizedTask
from harness.training.best_epoch import BestEpoch
from harness.training.continued_modules import NO_WEIGHTS
from harness.training.run import Run
from harness.training.schedule import own_batches_per_epoch
from harness.training.scoring import Part, score

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class SourceModels:
    """Models from which students get layers, weights or their model family, each loaded once per cohort."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._loaded: dict[tuple[str, bool], Any] = {}

    def model(self, job: RunJob) -> Any:
        """The source model of a job's student, or None for a student that starts from a checkpoint.

        It is the suite's first teacher, before or after its fine-tuning.
        """
        if _checkpoint(job) is not None or job.source is None:
            return None
        return self._load(job.source, fine_tuned=job.copies_fine_tuned(self.plan.spec.students[job.cell.student]))

    def teachers(self, job: RunJob) -> list[PreTrainedModel]:
        """The fine-tuned teachers of a job's method."""
        return [self._load(teacher, fine_tuned=True) for teacher in job.teachers]

    def _load(self, teacher: TeacherJob, *, fine_tuned: bool) -> Any:
        key, trust = (teacher.key, fine_tuned), self.plan.spec.trust_remote_code
        if key not in self._loaded:
            load = teacher_runs.load if fine_tuned else teacher_runs.untrained
            self._loaded[key] = load(teacher, trust_remote_code=trust)
        return self._loaded[key]


def _checkpoint(job: RunJob) -> Path | None:
    """The checkpoint from which the student starts, if any."""
    return text_student_files.cached(job.general).path if job.general else job.checkpoint


def prepare(
    job: RunJob,
    plan: Plan,
    context: JobContext,
    sources: SourceModels,
    data: TokenizedTask,
    epochs: BatchStream,
    examples: int,
) -> Run:
    """Build the run of a job, at its first step.

    Args:
        job: the job.
        plan: the plan of the job.
        context: the environment of the job.
        sources: models from which students are initialized.
        data: the tokenized task, with the examples on which the best epoch is chosen.
        epochs: batches of the task's own training data, by which epochs are counted, also on augmented data.
        examples: number of tokenized training examples; see `TaskInfo`.
    """
    planned, variant = job.planned, job.cell.variant
    student = students.build(
        plan.spec.students[planned.student],
        name=planned.student,
        task=job.data.task,
        teacher=sources.model(job),
        checkpoint=_checkpoint(job),
        seed=derive(planned.seed, "student"),
        trust_remote_code=plan.spec.trust_remote_code,
    )
    if student_initialization.changes_weights(job.method):
        student_initialization.initialize(job.method, student, sources.teachers(job))
    run_id = run_records.run_id(job)
    return Run(
        run_id,
        with_examples(job.method, examples),
        student,
        teachers=job.sources,
        training=job.training,
        overrides=variant.stages,
        batches_per_epoch=epochs.batches_per_epoch,
        own_batches_per_epoch=own_batches_per_epoch(variant.stages, epochs.examples),
        device=context.device,
        module_weights=text_student_files.module_weights(job.general) if job.general else NO_WEIGHTS,
        best=_best_epoch(data, context, run_id) if job.best_epoch else None,
        observe=run_records.reporter(context.host),
    )


def _best_epoch(data: TokenizedTask, context: JobContext, run: RunId) -> BestEpoch:
    def held_out(capture: Capture) -> float:
        scored = score(capture, data, context.host.metrics, device=context.device, part="selection")
        return math.nan if scored.score is None else scored.score

    return BestEpoch(
        held_out,
        higher_is_better=data.task.higher_is_better,
        observe=run_records.score_reporter(context.host, run),
    )


@dataclass(frozen=True)
class FinishedStudent:
    """A student's run that has completed or failed, its job, and the task in the student's tokens."""

    finished: FinishedRun
    job: RunJob
    data: TokenizedTask

    def scored(self, context: JobContext, part: Part = "validation") -> TaskScores:
        """Score the student on the validation splits or on the held-out split of selection."""
        capture = self.finished.run.capture
        return score(capture, self.data, context.host.metrics, device=context.device, part=part)


def finish(student: FinishedStudent, plan: Plan, context: JobContext) -> RunRecord:
    """Score a run that has ended, store its record, and notify observers of the score or the failure.

    An exception while it is stored, such as that of a model that cannot be exported, fails this run only.

    Raises:
        DiskError: the disk is full or failing.
        DeviceError: the GPU cannot be used any more.
    """
    run, store, data = student.finished.run, context.store, student.job.data
    scored, cost = student.finished.scored(lambda: student.scored(context))
    store.save_examples(data.validation_fingerprint, lambda: validation_texts(data.splits))
    try:
        record = _store(student, plan, context, scored, cost)
    except (Exception, SystemExit) as error:
        if is_disk_error(error):
            raise
        device_faults.check(str(run.id), one_line(error))
        run.fail(error, f"storing after step {run.position}")
        scored = None
        record = _store(student, plan, context, scored, cost)
    atomic_writes.forget(store.checkpoint(record.key))
    student.finished.notify(context.host, scored, cost.wall_seconds)
    return record


def _store(
    student: FinishedStudent, plan: Plan, context: JobContext, scored: TaskScores | None, cost: Cost
) -> RunRecord:
    run, job = student.finished.run, student.job
    planned = job.planned
    record = RunRecord(
        **run_records.identity(job),
        status="completed" if scored else "failed",
        score=scored.score if scored else None,
        metrics=scored.metrics if scored else {},
        error=run.error,
        losses=run.history,
        notes={**run.notes, **({"starts_from": run.starts} if run.starts else {})},
        selection=_selected(run, job, plan),
        tuning=job.tuned,
        cost=cost,
        size=run_records.size(run.student, planned.student, tokens=job.training.max_length),
        provenance=student.finished.provenance(),
    )

    def export(path: Path) -> None:
        with quiet_transformers(), in_label_unit(run.student, job.data.task.label_scale):
            run.student.save_pretrained(path)
        job.tokenizer_ref.tokenizer.save_pretrained(path)

    context.store.save(record, scored.frame if scored else None, export if scored else None)
    return record


def _selected(run: Run, job: RunJob, plan: Plan) -> SelectionRecord | None:
    """The data on which the best epoch or the tuned values were chosen; None without such data."""
    spec, data = plan.spec.effective_selection, job.data
    if spec is None or data.selection_fingerprint is None:
        return None
    held_out, best = data.splits.selection, run.best and run.best.chosen
    return SelectionRecord(
        on=spec.on,
        share=spec.share if held_out is not None else None,
        seed=spec.seed if held_out is not None else None,
        examples=sum(map(len, data.splits.validation.values() if held_out is None else [held_out])),
        fingerprint=data.selection_fingerprint,
        epochs=run.best.epochs if run.best else [],
        step=best.step if best else None,
    )
