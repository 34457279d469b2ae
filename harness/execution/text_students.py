"""Text stages: distils each student on unlabelled text once, caches it, and copies it to the store."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.events import RunId
from harness.api.seeds import derive
from harness.api.task import Splits
from harness.execution import cohort_driver, run_records
from harness.execution.cache_integrity import found_intact
from harness.execution.cohort_driver import FinishedRun
from harness.execution.context import JobContext
from harness.models import heads, masked_lm, students
from harness.models.quiet_transformers import quiet_transformers
from harness.planning import memory_estimate, memory_packing
from harness.planning.jobs import GeneralJob, with_examples
from harness.storage import atomic_writes, cache_dir, checksums
from harness.storage.records import GeneralRecord
from harness.storage.store import Store
from harness.tasks.corpus import encode_text
from harness.tasks.text_task import TEXT_TASK
from harness.tasks.tokenized_cache import cache_key_parts, load_or_build
from harness.training import finite_checks
from harness.training.batch_stream import TokenizedTask
from harness.training.cohort import Cohort, Teacher
from harness.training.run import Run
from harness.training.text_distillation import TextBatchStream, TextStageMethod

if TYPE_CHECKING:
    from transformers import PreTrainedModel

RECORD = "record.json"


def folder(job: GeneralJob) -> Path:
    """The cache folder of the student: its record, and a checkpoint that plain transformers can load."""
    return cache_dir.root() / "general" / job.key


def is_kept(job: GeneralJob) -> bool:
    """Whether the cache has the student and its files match their checksums."""
    return checksums.is_intact(folder(job))


def make(jobs: Sequence[GeneralJob], context: JobContext) -> Iterator[tuple[GeneralJob, str | None]]:
    """Distil the students of a cohort on text, unless the cache has them, and copy them to the store.

    Yields:
        Each job as it ends, with its error or None.

    Raises:
        Interrupted: the process was asked to stop; the next call continues.
        UserError: the teacher cannot be loaded.
    """
    device = str(context.device)
    cache_dir.root().joinpath("general").mkdir(parents=True, exist_ok=True)
    missing = [job for job in jobs if not found_intact(folder(job), f"student {job.student} of {job.label}")]
    for job in jobs:
        if job not in missing:
            _copy_to_store(job, context.store)
            yield job, None
    available = memory_estimate.room(device, jobs[0].training.max_memory_gb)
    for part in memory_packing.split(missing, lambda job: memory_packing.of_general(job, device), available):
        while part:
            cohort = _TextCohort(part, context)
            yield from cohort.train()
            part = cohort.deferred


def _copy_to_store(job: GeneralJob, store: Store) -> None:
    """Copy the student to the store, where it remains if the cache is deleted."""
    record = (folder(job) / RECORD).read_text(encoding="utf-8")
    ignored = shutil.ignore_patterns(RECORD, checksums.NAME)
    store.save_general(
        GeneralRecord.model_validate_json(record), lambda path: shutil.copytree(folder(job), path, ignore=ignored)
    )


class _TextCohort:
    """Students that learn from one teacher on the same batches of text."""

    def __init__(self, jobs: Sequence[GeneralJob], context: JobContext) -> None:
        self.jobs = {job.key: job for job in jobs}
        self.first = jobs[0]
        self.context = context
        self.trust = context.trust_remote_code
        self.deferred: list[GeneralJob] = []
        """Jobs that did not fit into memory together with the others; train them in a cohort of their own."""

    def train(self) -> Iterator[tuple[GeneralJob, str | None]]:
        """Train and store the students, and yield each job as it ends, with its error or None."""
        stream, device = self._stream(), self.context.device
        teacher = Teacher("teacher", self._teacher(), self.first.reader.fingerprint, device)
        runs = [self._run(job, stream) for job in self.jobs.values()]
        cohort_driver.resume(runs, self._checkpoint, self.context.host)
        cohort = Cohort(stream, {"teacher": teacher}, runs, device)
        for finished in cohort_driver.train(cohort, self._checkpoint, self.context):
            run, job = finished.run, self.jobs[finished.run.id.key]
            if run.error is None:
                _fail_if_not_finite(run)
            if run.error is None:
                self._store(finished)
                _copy_to_store(job, self.context.store)
            yield job, run.error
        self.deferred = [self.jobs[run.id.key] for run in cohort.deferred]

    def _stream(self) -> TextBatchStream:
        first = self.first
        rows = first.steps * first.training.batch_size
        text, tokenizer, max_length = first.text, first.reader, first.training.max_length
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
            batch_size=first.training.batch_size,
            masking=first.general.masking,
            smoothing=first.general.smoothing,
            batching=first.training.batching,
            seed=first.seed,
        )

    def _teacher(self) -> PreTrainedModel:
        first = self.first
        if first.assistant is not None:
            return heads.load(folder(first.assistant), TEXT_TASK, seed=0)
        stages = {key: job.general.stage for key, job in self.jobs.items()}
        needs_logits = [
            self.jobs[key]
            for key, stage in stages.items()
            if stage.live or any("logits" in names for names in stage.needs.teachers)
        ]
        if needs_logits:  # the teacher must then have a trained language-model head
            remedy = f"set `general: false` to train {needs_logits[0].label} without its text stage"
            return masked_lm.load(first.teacher, self.context.device, remedy=remedy, trust_remote_code=self.trust).model
        return heads.load(first.teacher, TEXT_TASK, seed=0, trust_remote_code=self.trust)

    def _run(self, job: GeneralJob, stream: TextBatchStream) -> Run:
        source = heads.load(job.source, TEXT_TASK, seed=0, trust_remote_code=self.trust) if job.source else None
        student = students.build(
            job.spec,
            name=job.student,
            task=TEXT_TASK,
            teacher=source,
            checkpoint=job.checkpoint,
            seed=derive(job.seed, "student"),
            trust_remote_code=self.trust,
        )
        return Run(
            RunId(job.key, TEXT_TASK.name, job.label, job.student, job.seed, role="general"),
            TextStageMethod(with_examples(job.method, stream.examples), job.general.stage),
            student,
            teachers=["teacher"],
            training=job.training,
            overrides=job.overrides,
            batches_per_epoch=stream.batches_per_epoch,
            device=self.context.device,
            observe=run_records.reporter(self.context.host),
        )

    def _checkpoint(self, run: Run) -> Path:
        return folder(self.jobs[run.id.key]).with_name(f"{run.id.key}.pt")

    def _store(self, finished: FinishedRun) -> None:
        run = finished.run
        job = self.jobs[run.id.key]
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
            job.reader.tokenizer.save_pretrained(path)
            (path / RECORD).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
            checksums.seal(path)

        atomic_writes.write(folder(job), export)
        atomic_writes.forget(self._checkpoint(run))


def _fail_if_not_finite(run: Run) -> None:
    """Fail the run of a student whose weights are not finite, so that it is not stored."""
    try:
        finite_checks.check_weights(run.student, "when the student is stored")
    except finite_checks.NotFinite as error:
        run.fail(error, f"after step {run.position}")
