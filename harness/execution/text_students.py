"""Text stages: distils each student on unlabelled text once, caches it, and copies it to the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import UserError
from harness.api.events import RunFinished
from harness.api.seeds import derive
from harness.api.task import Splits
from harness.execution import cohort_building, cohort_driver, run_records, text_student_files
from harness.execution.cohort_building import BuiltRuns
from harness.execution.cohort_driver import FinishedRun
from harness.execution.context import JobContext
from harness.models import heads, masked_lm, students
from harness.models.quiet_transformers import quiet_transformers
from harness.planning import memory_estimate, memory_packing
from harness.planning.jobs import TextStageJob
from harness.planning.method_binding import with_examples
from harness.storage import atomic_writes, checksums
from harness.storage.disk_errors import is_disk_error
from harness.storage.record_files import REMEDY
from harness.storage.records import GeneralRecord
from harness.tasks.corpus import encode_text
from harness.tasks.text_task import TEXT_TASK
from harness.tasks.tokenized_cache import cache_key_parts, load_or_build
from harness.training import finite_checks
from harness.training.batch_stream import TokenizedTask
from harness.training.cohort import Cohort
from harness.training.continued_modules import weights_of
from harness.training.run import Run
from harness.training.teacher import Teacher
from harness.training.text_distillation import TextBatchStream, TextStageMethod

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def make(jobs: Sequence[TextStageJob], context: JobContext) -> Iterator[tuple[TextStageJob, str | None]]:
    """Distil the students of a cohort on text, unless store or cache have them. Both have them then.

    Yields:
        Each job as it ends, with its error or None.

    Raises:
        Interrupted: the process was asked to stop; the next call continues.
        DiskError: the disk is full or failing.
        UserError: an assistant, or the pretrained model as a bare encoder, cannot be loaded.
    """
    device = str(context.device)
    missing = []
    for job in jobs:
        try:
            is_found = text_student_files.find(job, context.store)
        except checksums.CorruptFileError as damage:
            yield job, f"{damage}; {REMEDY}"
            continue
        if is_found:
            yield job, None
        else:
            missing.append(job)
    available = memory_estimate.room(device, jobs[0].training.max_memory_gb)
    for part in memory_packing.split(missing, lambda job: memory_packing.of_text_stage(job, device), available):
        build = partial(_cohort, context=context)
        for job, ended in cohort_building.train(part, build, _memory_message, _checkpoint_of, context):
            yield job, ended if isinstance(ended, str) else _finish(job, ended, context)


def _finish(job: TextStageJob, finished: FinishedRun, context: JobContext) -> str | None:
    """Store the student of a run that has ended, and notify observers. Returns why that failed, or None.

    An exception while it is stored, such as that of a model that cannot be exported, fails this run only, unless the
    disk causes it.
    """
    run = finished.run
    if run.error is None:
        _fail_if_not_finite(run)
    if run.error is None:
        try:
            _store(job, finished)
            text_student_files.copy_to_store(job, context.store)
        except (Exception, SystemExit) as error:
            if is_disk_error(error):
                raise
            run.fail(error, f"storing after step {run.position}")
        else:
            atomic_writes.forget(_checkpoint_of(run))
            event = RunFinished(run.id, None, {}, finished.cost().wall_seconds)
            context.host.notify("harness_run_finished", event)
    return run.error


def _checkpoint_of(run: Run) -> Path:
    return text_student_files.checkpoint(run.id.key)


def _cohort(jobs: Sequence[TextStageJob], context: JobContext) -> tuple[Cohort, BuiltRuns[TextStageJob]]:
    """Build the cohort of jobs with the same teacher and text, with runs restored from their checkpoints."""
    stream, device, built = _stream(jobs[0]), context.device, BuiltRuns[TextStageJob]()
    model, taught = _teacher(jobs, built, context)
    for job in taught:
        built.add(job, lambda job: _run(job, stream, context))
    cohort_driver.resume(built.runs, _checkpoint_of)
    if model is None or not built.runs:
        return Cohort(stream, {}, [], device), built
    teacher = Teacher("teacher", model, jobs[0].tokenizer_ref.fingerprint, device)
    return Cohort(stream, {"teacher": teacher}, built.runs, device), built


def _teacher(
    jobs: Sequence[TextStageJob], built: BuiltRuns[TextStageJob], context: JobContext
) -> tuple[PreTrainedModel | None, Sequence[TextStageJob]]:
    """Load the teacher of jobs. Returns it and the jobs that it can teach; the others fail and are added to `built`.

    Jobs that learn from the predictions of a pretrained model need its trained language-model head.
    """
    first, trust = jobs[0], context.trust_remote_code
    if first.assistant is not None:
        assistant = text_student_files.cached(first.assistant).path
        return heads.load(assistant, TEXT_TASK, seed=0, trust_remote_code=trust), jobs
    if with_head := [job for job in jobs if _needs_logits(job)]:
        labels = ", ".join(dict.fromkeys(job.label for job in with_head))
        remedy = f"set `general: false` to train {labels} without a text stage"
        try:
            return masked_lm.load(first.teacher, context.device, remedy=remedy, trust_remote_code=trust).model, jobs
        except UserError as error:
            for job in with_head:
                built.fail(job, error)
    others = [job for job in jobs if job not in with_head]
    return heads.load(first.teacher, TEXT_TASK, seed=0, trust_remote_code=trust) if others else None, others


def _run(job: TextStageJob, stream: TextBatchStream, context: JobContext) -> Run:
    trust = context.trust_remote_code
    source = heads.load(job.source, TEXT_TASK, seed=0, trust_remote_code=trust) if job.source else None
    student = students.build(
        job.spec,
        name=job.student,
        task=TEXT_TASK,
        teacher=source,
        checkpoint=job.checkpoint,
        seed=derive(job.seed, "student"),
        trust_remote_code=trust,
    )
    return Run(
        run_records.run_id(job),
        TextStageMethod(with_examples(job.method, stream.examples), job.general.stage),
        student,
        teachers=["teacher"],
        training=job.training,
        overrides=job.overrides,
        batches_per_epoch=stream.batches_per_epoch,
        device=context.device,
        observe=run_records.reporter(context.host),
    )


def _needs_logits(job: TextStageJob) -> bool:
    stage = job.general.stage
    return stage.live or any("logits" in names for names in stage.needs.teachers)


def _memory_message(job: TextStageJob, reason: str) -> str:
    return (
        f"out of memory before the first step of {job.label} on {job.student}, text: the models of the student and its"
        f" teacher do not fit. Use smaller models ({reason})"
    )


def _stream(job: TextStageJob) -> TextBatchStream:
    """The batches of the text of a job."""
    rows = job.steps * job.training.batch_size
    text, tokenizer, max_length = job.text, job.tokenizer_ref, job.training.max_length
    encoded = load_or_build(
        cache_key_parts(
            text.fingerprint, tokenizer.fingerprint, tokenizer.tokenizer, max_length, kind="text", rows=rows
        ),
        lambda: encode_text(text, tokenizer.tokenizer, max_length, rows),
    )
    pad = int(tokenizer.tokenizer.pad_token_id)
    return TextBatchStream(
        TokenizedTask(TEXT_TASK, Splits(text.texts, {}), tokenizer.fingerprint, pad, encoded, {}),
        tokenizer.tokenizer,
        batch_size=job.training.batch_size,
        masking=job.general.masking,
        smoothing=job.general.smoothing,
        batching=job.training.batching,
        seed=job.seed,
    )


def _store(job: TextStageJob, finished: FinishedRun) -> None:
    """Write the student, its tokenizer, the method's modules and the record to the cache."""
    run = finished.run
    record = GeneralRecord(
        key=job.key,
        method=job.method.name,
        label=job.label,
        student=job.student,
        seed=job.seed,
        parts=dict(job.parts),
        losses=run.history,
        notes=run.notes,
        cost=finished.cost(),
        size=run_records.size(run.student, job.student, tokens=job.training.max_length),
        provenance=finished.provenance(),
    )

    def export(path: Path) -> None:
        with quiet_transformers():
            run.student.save_pretrained(path)
        job.tokenizer_ref.tokenizer.save_pretrained(path)
        text_student_files.write_modules(path, weights_of(run.modules))
        (path / text_student_files.RECORD).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")

    text_student_files.cached(job).write(export)


def _fail_if_not_finite(run: Run) -> None:
    """Fail the run of a student whose weights are not finite, so that it is not stored."""
    try:
        finite_checks.check_weights(run.student, "when the student is stored")
    except finite_checks.NotFinite as error:
        run.fail(error, f"after step {run.position}")
