"""The stages on unlabelled text: each student is distilled once, kept in the cache, and shown in the store."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from transformers import PreTrainedModel

from harness.api.errors import UserError
from harness.api.events import RunId
from harness.api.seeds import derive
from harness.api.task import Splits
from harness.execution import run_checkpoints, run_records
from harness.execution.cache_integrity import found_intact
from harness.execution.signals import Interrupted, locked
from harness.models import heads, masked_lm, students
from harness.models.quiet_transformers import quiet_transformers
from harness.planning import memory_estimate, memory_packing
from harness.planning.jobs import GeneralJob
from harness.plugin_host.host import Host
from harness.storage import atomic_writes, cache_dir, checksums, provenance
from harness.storage.records import GeneralRecord
from harness.storage.store import Store
from harness.tasks.corpus import TEXT, encode_text
from harness.tasks.tokenized_cache import recipe, remembered
from harness.training import finite_checks
from harness.training.batch_stream import TokenizedTask
from harness.training.cohort import Cohort, Teacher
from harness.training.run import Run
from harness.training.text_distillation import TextBatchStream, TextStageMethod

RECORD = "record.json"


def folder(job: GeneralJob) -> Path:
    """Where the cache keeps the student: its record, and a checkpoint that plain transformers load."""
    return cache_dir.root() / "general" / job.key


def is_kept(job: GeneralJob) -> bool:
    """Whether the cache has the student, and its files match their checksums."""
    return checksums.is_intact(folder(job))


def make(
    jobs: Sequence[GeneralJob], store: Store, *, host: Host, device: torch.device, trust: bool, stop: Callable[[], bool]
) -> None:
    """See that the cache and the store hold the students of `jobs`, which name an assistant before its students.

    Those with the same teacher and batches train side by side.

    Raises:
        Interrupted: `stop` said so; the next call goes on from where it stopped.
        UserError: a model cannot be read, or the training of one failed.
    """
    groups: dict[tuple[str, str, float, float], list[GeneralJob]] = {}
    for job in sorted(jobs, key=lambda job: job.assistant is not None):
        groups.setdefault(job.cohort, []).append(job)
    for group in groups.values():
        cache_dir.root().joinpath("general").mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:  # another process may be at the same students
            for target in sorted(folder(job) for job in group):
                stack.enter_context(locked(target, stop))
            missing = [job for job in group if not found_intact(folder(job), f"student {job.student} of {job.label}")]
            room = memory_estimate.room(str(device), group[0].training.max_memory_gb)
            for part in memory_packing.split(missing, lambda job: memory_packing.of_general(job, str(device)), room):
                while part:
                    part = _Training(part, host, device, trust).run(stop)
        for job in group:
            _show(job, store)


def _show(job: GeneralJob, store: Store) -> None:
    """A copy in the store, so that the student can be used when the cache is gone."""
    text = (folder(job) / RECORD).read_text(encoding="utf-8")
    without = shutil.ignore_patterns(RECORD, checksums.NAME)
    store.save_general(
        GeneralRecord.model_validate_json(text), lambda path: shutil.copytree(folder(job), path, ignore=without)
    )


class _Training:
    """Students that learn from one teacher on the same batches."""

    def __init__(self, jobs: Sequence[GeneralJob], host: Host, device: torch.device, trust: bool) -> None:
        self.jobs = {job.key: job for job in jobs}
        self.first = jobs[0]
        self.host = host
        self.device = device
        self.trust = trust
        self.started = provenance.now()

    def run(self, stop: Callable[[], bool]) -> list[GeneralJob]:
        """Train and keep them. Gives those that memory had no room for beside the others: they go on by themselves."""
        stream = self._stream()
        teacher = Teacher("teacher", self._teacher(), self.first.reader.fingerprint, self.device)
        runs = [self._run(job, stream) for job in self.jobs.values()]
        for run in runs:
            run_checkpoints.restore(run, self._checkpoint(run))
            run_records.announce(self.host, run, cohort=len(runs))
        cohort = Cohort(stream, {"teacher": teacher}, runs, self.device)
        failed = []
        for run in cohort.train(stop=stop, checkpoint=lambda run: run_checkpoints.save(run, self._checkpoint(run))):
            if run.error is None:
                _fail_if_not_finite(run)
            if run.error is None:
                self._keep(run, cohort_size=len(runs))
            else:
                failed.append(f"the stage on text of {run.id} failed: {run.error}")
            run.release()
        if failed:  # told when the others are kept
            raise UserError(*failed)
        if stop() and not all(run.ended for run in runs):
            raise Interrupted
        return [self.jobs[run.id.key] for run in cohort.deferred]

    def _stream(self) -> TextBatchStream:
        first = self.first
        rows = first.steps * first.training.batch_size
        text, reader, longest = first.text, first.reader, first.training.max_length
        encoded = remembered(
            recipe(text.fingerprint, reader.fingerprint, reader.tokenizer, longest, kind="text", rows=rows),
            lambda: encode_text(text, reader.tokenizer, longest, rows),
        )
        pad = int(reader.tokenizer.pad_token_id)
        return TextBatchStream(
            TokenizedTask(TEXT, Splits(text.texts, {}), reader.fingerprint, pad, encoded, {}),
            reader.tokenizer,
            batch_size=first.training.batch_size,
            masking=first.general.masking,
            smoothing=first.general.smoothing,
            batching=first.training.batching,
            seed=first.seed,
        )

    def _teacher(self) -> PreTrainedModel:
        first = self.first
        if first.assistant is not None:
            return heads.load(folder(first.assistant), TEXT, seed=0)
        asks = [
            job for job in self.jobs.values() if any("logits" in names for names in job.general.stage.needs.teachers)
        ]
        if asks:  # for its predictions: it must have been trained to make them
            remedy = f"`general: false` goes on without the stage on text of {asks[0].label}"
            return masked_lm.load(first.teacher, self.device, remedy=remedy, trust_remote_code=self.trust).model
        return heads.load(first.teacher, TEXT, seed=0, trust_remote_code=self.trust)

    def _run(self, job: GeneralJob, stream: TextBatchStream) -> Run:
        source = heads.load(job.source, TEXT, seed=0, trust_remote_code=self.trust) if job.source else None
        student = students.build(
            job.spec,
            name=job.student,
            task=TEXT,
            teacher=source,
            checkpoint=job.checkpoint,
            seed=derive(job.seed, "student"),
            trust_remote_code=self.trust,
        )
        return Run(
            RunId(job.key, TEXT.name, job.label, job.student, job.seed, role="general"),
            TextStageMethod(job.method, job.general.stage),
            student,
            teachers=["teacher"],
            training=job.training,
            overrides=job.overrides,
            batches_per_epoch=stream.batches_per_epoch,
            device=self.device,
            observe=run_records.reporter(self.host),
        )

    def _checkpoint(self, run: Run) -> Path:
        return folder(self.jobs[run.id.key]).with_name(f"{run.id.key}.pt")

    def _keep(self, run: Run, *, cohort_size: int) -> None:
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
            cost=run_records.cost(run, cohort_size=cohort_size, evaluation_seconds=0.0),
            size=run_records.size(run.student, job.student, tokens=job.training.max_length),
            provenance=run_records.provenance_of(self.device, self.started),
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
    """A student with NaN or infinite weights is not stored: its run fails."""
    try:
        finite_checks.check_weights(run.student, "when the student is stored")
    except finite_checks.NotFinite as error:
        run.fail(error, f"after step {run.position}")
