"""Teachers: fine-tuned once for each (model, task, settings), kept in the cache, found again by key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from filelock import FileLock
from transformers import BertConfig, PreTrainedModel

from harness import cache
from harness.batch import Batch
from harness.errors import UserError
from harness.events import RunId
from harness.host import Host
from harness.identity import derive
from harness.losses import task_loss
from harness.method import LossTerms, Method, MethodConfig, Needs, Stage, Step
from harness.models import heads
from harness.models.families import shape
from harness.plan.jobs import TeacherJob, task_info
from harness.results import atomic, provenance
from harness.results.records import Cost, Frozen, LossPoint, Provenance
from harness.suite.schema import Architecture
from harness.tensors import Tensors
from harness.training import accounts, checkpoints
from harness.training.cohort import Cohort
from harness.training.data import EncodedTask, Stream
from harness.training.run import Run


class Supervised(Method):
    """The task's labels alone: how a teacher learns its task."""

    name = "teacher"
    min_teachers = max_teachers = 0

    def stages(self) -> Sequence[Stage]:
        return [Stage("fine-tuning", Needs(student=["logits"]))]

    def losses(self, step: Step, batch: Batch, student: Tensors, teachers: Sequence[Tensors]) -> LossTerms:
        return {"task": task_loss(student.logits, batch)}


class Fit(Frozen):
    """What the fine-tuning took; kept beside the weights, so that every suite that finds them can tell."""

    losses: list[LossPoint]
    cost: Cost
    provenance: Provenance


class Interrupted(Exception):
    """Training was asked to stop, and its state is saved."""


def folder(job: TeacherJob) -> Path:
    """Where the fine-tuned teacher is kept."""
    return cache.root() / "teachers" / job.key


def is_kept(job: TeacherJob) -> bool:
    """Whether the cache has the fine-tuned teacher."""
    return (folder(job) / "fit.json").exists()


def load(job: TeacherJob) -> PreTrainedModel:
    """The fine-tuned teacher, on the CPU."""
    return heads.load(folder(job), job.data.task, seed=0)


def fine_tune(
    job: TeacherJob,
    data: Callable[[], EncodedTask],
    *,
    host: Host,
    device: torch.device,
    trust_remote_code: bool,
    stop: Callable[[], bool],
) -> Fit:
    """See that `folder(job)` holds the fine-tuned teacher: from the cache, or by training it now.

    `data` tokenises the task as this teacher reads it; it is called only where the teacher must be trained.

    Raises:
        Interrupted: `stop` said so; the next call goes on from where it stopped.
        UserError: its training failed.
    """
    target = folder(job)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):  # another process may be at the same teacher
        if not is_kept(job):
            model = untrained(job, trust_remote_code=trust_remote_code).to(device)
            _train(job, model, data(), target, host, device, stop)
        return Fit.model_validate_json((target / "fit.json").read_text(encoding="utf-8"))


def untrained(job: TeacherJob, *, trust_remote_code: bool) -> PreTrainedModel:
    """The teacher before fine-tuning: its checkpoint under a new head, or random weights."""
    seed = derive(job.spec.seed, "teacher")
    if job.spec.architecture is not None:
        return heads.from_config(_bert(job.spec.architecture, job), job.data.task, seed=seed)
    if job.checkpoint is None:
        raise AssertionError(f"teacher {job.name} has neither a checkpoint nor an architecture")
    return heads.load(job.checkpoint, job.data.task, seed=seed, trust_remote_code=trust_remote_code)


def _bert(architecture: Architecture, job: TeacherJob) -> BertConfig:
    return BertConfig(
        vocab_size=len(job.reader.tokenizer),
        num_hidden_layers=architecture.layers,
        hidden_size=architecture.hidden,
        num_attention_heads=architecture.heads,
        intermediate_size=architecture.ffn,
        max_position_embeddings=max(512, job.training.max_length),
        pad_token_id=job.reader.tokenizer.pad_token_id,
    )


def _train(
    job: TeacherJob,
    model: PreTrainedModel,
    data: EncodedTask,
    target: Path,
    host: Host,
    device: torch.device,
    stop: Callable[[], bool],
) -> None:
    started = provenance.now()
    run_id = RunId(key=job.key, task=data.task.name, label=job.name, student="", seed=job.spec.seed, role="teacher")
    stream = Stream(data, batch_size=job.training.batch_size, data_seed=job.spec.seed)
    method = Supervised(
        MethodConfig(), task=task_info(data.task), student=shape(model.config, job.name), teachers=(), seed=run_id.seed
    )
    run = Run(
        run_id,
        method,
        model,
        teachers=(),
        training=job.training,
        overrides={},
        batches_per_epoch=stream.batches_per_epoch,
        device=device,
        observe=accounts.reporter(host),
    )
    saved = target.with_name(f"{target.name}.pt")
    checkpoints.restore(run, saved)
    accounts.announce(host, run, cohort=1)
    cohort = Cohort(stream, {}, [run], device)
    for _ in cohort.train(stop=stop, checkpoint=lambda unfinished: checkpoints.save(unfinished, saved)):
        if run.error is not None:
            raise UserError(f"teacher {job.name} on {data.task.name} failed: {run.error}")
    if not run.ended:
        raise Interrupted
    fit = Fit(
        losses=run.history,
        cost=accounts.cost(run, cohort, evaluation_seconds=0.0),
        provenance=accounts.provenance_of(device, started),
    )
    atomic.write(target, lambda path: _export(run.student, job, fit, path))
    saved.unlink(missing_ok=True)


def _export(model: PreTrainedModel, job: TeacherJob, fit: Fit, path: Path) -> None:
    with heads.quiet():
        model.save_pretrained(path)
    job.reader.tokenizer.save_pretrained(path)
    (path / "fit.json").write_text(fit.model_dump_json(indent=1), encoding="utf-8")
