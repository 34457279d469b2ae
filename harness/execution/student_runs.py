"""A student before its training, and after it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from harness.api.events import RunFinished, RunId
from harness.api.seeds import derive
from harness.execution import run_records, teacher_runs, text_students
from harness.models import students
from harness.models.capture import Capture
from harness.models.quiet_transformers import quiet_transformers
from harness.planning import Plan, RunJob
from harness.plugin_host.host import Host
from harness.storage import atomic_writes
from harness.storage.records import RunRecord, Selected
from harness.storage.store import Store
from harness.tasks.example_texts import texts
from harness.training.batch_stream import TokenizedTask
from harness.training.best_epoch import BestEpoch
from harness.training.run import Run
from harness.training.scoring import score


class Sources:
    """The models that students take layers or their family from, each loaded once for a cohort."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._loaded: dict[tuple[str, bool], Any] = {}

    def model(self, job: RunJob) -> Any:
        """Of a student that starts from no checkpoint of its own: the suite's first teacher, before or after its
        fine-tuning, as the student's `init_from` says (after, for a teacher that was trained from scratch)."""
        if _checkpoint(job) is not None or job.source is None:
            return None
        spec = self.plan.spec.students[job.cell.student]
        fine_tuned = spec.init != "random" and (spec.init_from == "teacher" or job.source.checkpoint is None)
        key = (job.source.key, fine_tuned)
        if key not in self._loaded:
            self._loaded[key] = (
                teacher_runs.load(job.source)
                if fine_tuned
                else teacher_runs.untrained(job.source, trust_remote_code=self.plan.spec.trust_remote_code)
            )
        return self._loaded[key]


def _checkpoint(job: RunJob) -> Path | None:
    """What the student begins with, if that is a checkpoint."""
    return text_students.folder(job.general) if job.general else job.checkpoint


def prepare(
    job: RunJob,
    plan: Plan,
    host: Host,
    sources: Sources,
    data: TokenizedTask,
    batches_per_epoch: int,
    device: torch.device,
) -> Run:
    """The run at its first step. An epoch is one of the task's own training data, whatever the run learns from; `data`
    has what its best one is chosen on."""
    planned, variant = job.planned, job.cell.variant
    student = students.build(
        plan.spec.students[planned.student],
        name=planned.student,
        task=job.data.task,
        teacher=sources.model(job),
        checkpoint=_checkpoint(job),
        seed=derive(planned.seed, "student"),
    )
    role = "student" if job.trial is None else "trial"
    return Run(
        RunId(planned.key, planned.task, planned.label, planned.student, planned.seed, role, job.trial),
        job.method,
        student,
        teachers=job.sources,
        training=job.training,
        overrides=variant.stages,
        batches_per_epoch=batches_per_epoch,
        device=device,
        best=_best_epoch(data, host, device) if job.best_epoch else None,
        observe=run_records.reporter(host),
    )


def _best_epoch(data: TokenizedTask, host: Host, device: torch.device) -> BestEpoch:

    def held_out(capture: Capture) -> float:
        scored = score(capture, data, host.metrics, device=device, part="selection")
        return math.nan if scored.score is None else scored.score

    return BestEpoch(held_out, higher_is_better=data.task.higher_is_better)


@dataclass(frozen=True)
class FinishedRun:
    """A run that has ended, finished or failed: its job, how many runs the cohort had, what the students read, and when
    that began. The run is `release`d once whoever was given it asks for the next."""

    run: Run
    job: RunJob
    cohort_size: int
    data: TokenizedTask
    started: str


def finish(ended: FinishedRun, plan: Plan, store: Store, host: Host) -> RunRecord:
    """Score a run that has ended, store its result, and tell observers. A failure in it is the run's own."""
    run, job = ended.run, ended.job
    planned = job.planned
    began = time.perf_counter()
    scored = None
    if run.error is None:
        try:
            scored = score(run.capture, ended.data, host.metrics, device=run.device)
        except Exception as error:
            run.fail(error, f"scoring after step {run.position}")
    seconds = time.perf_counter() - began
    record = RunRecord(
        key=planned.key,
        status="completed" if scored else "failed",
        task=planned.task,
        method=planned.method,
        label=planned.label,
        student=planned.student,
        teachers=planned.teachers,
        teacher_seeds=planned.teacher_seeds,
        seed=planned.seed,
        data_fingerprint=job.data.validation_fingerprint,
        score=scored.score if scored else None,
        metrics=scored.metrics if scored else {},
        error=run.error,
        parts=dict(job.parts),
        losses=run.history,
        notes=run.notes,
        selection=_selected(run, job, plan),
        tuning=job.tuned,
        cost=run_records.cost(run, cohort_size=ended.cohort_size, evaluation_seconds=seconds),
        size=run_records.size(run.student, planned.student, tokens=job.training.max_length),
        provenance=run_records.provenance_of(run.device, ended.started),
    )

    def export(path: Path) -> None:
        with quiet_transformers():
            run.student.save_pretrained(path)
        job.reader.tokenizer.save_pretrained(path)

    store.save_examples(job.data.validation_fingerprint, lambda: texts(job.data.splits))
    store.save(record, scored.frame if scored else None, export if scored else None)
    atomic_writes.forget(store.checkpoint(planned.key))
    if scored:
        event = RunFinished(run.id, scored.score, dict(scored.metrics), record.cost.wall_seconds)
        host.notify("harness_run_finished", event)
    else:
        run_records.announce_failure(host, run)
    return record


def _selected(run: Run, job: RunJob, plan: Plan) -> Selected | None:
    """On what something was chosen, if anything was."""
    spec, data = plan.spec.effective_selection, job.data
    if spec is None or data.selection_fingerprint is None:
        return None
    held, chosen = data.splits.selection, run.best and run.best.chosen
    return Selected(
        on=spec.on,
        share=spec.share if held is not None else None,
        seed=spec.seed if held is not None else None,
        examples=sum(map(len, data.splits.validation.values() if held is None else [held])),
        fingerprint=data.selection_fingerprint,
        epochs=run.best.epochs if run.best else [],
        step=chosen.step if chosen else None,
    )
