"""Teachers: fine-tuned once for each (model, task, settings), kept in the cache, found again by key."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import BertConfig, PreTrainedModel

from harness.api.errors import UserError
from harness.api.events import LossPoint, RunId
from harness.api.method import Method, MethodConfig
from harness.api.seeds import derive
from harness.config.schema import Architecture
from harness.execution import cohort_driver, run_records
from harness.execution.cache_integrity import found_intact
from harness.execution.cohort_driver import FinishedRun
from harness.execution.context import JobContext
from harness.execution.signals import locked
from harness.models import heads, joint_teachers
from harness.models.families import scratch_positions, shape
from harness.models.quiet_transformers import quiet_transformers
from harness.planning.jobs import TeacherJob, task_info
from harness.storage import atomic_writes, cache_dir, checksums
from harness.storage.frozen_model import FrozenModel
from harness.storage.records import Cost, Provenance
from harness.training import finite_checks
from harness.training.batch_stream import TokenizedTask
from harness.training.cohort import Cohort
from harness.training.finetuning import JointFineTuning, SupervisedFineTuning
from harness.training.run import Run


class FineTuneResult(FrozenModel):
    """What the fine-tuning took; kept beside the weights, so that every suite that finds them can tell."""

    losses: list[LossPoint]
    cost: Cost
    provenance: Provenance


def folder(job: TeacherJob) -> Path:
    """Where the fine-tuned teacher is kept; teachers that were trained together are kept together."""
    return cache_dir.root() / "teachers" / (job.group.key if job.group else job.key)


def is_kept(job: TeacherJob) -> bool:
    """Whether the cache has the fine-tuned teacher, and its files match their checksums."""
    return checksums.is_intact(folder(job))


def load(job: TeacherJob) -> PreTrainedModel | joint_teachers.Member:
    """The fine-tuned teacher, on the CPU."""
    if job.group:
        return joint_teachers.load(folder(job), job.index, job.data.task)
    return heads.load(folder(job), job.data.task, seed=0)


def fine_tune(job: TeacherJob, data: Callable[[], Sequence[TokenizedTask]], context: JobContext) -> FineTuneResult:
    """Fine-tune a teacher, with its group, unless the cache has it.

    `data` tokenizes the task for this teacher, or for each teacher of its group, in their order; it is called only
    where the teacher must be trained.

    Raises:
        Interrupted: the process was asked to stop; the next call continues.
        UserError: its training failed.
    """
    target = folder(job)
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target, context.stop):  # another process may be training the same teacher
        if not found_intact(target, f"teacher {job.name} on {job.data.task.name}"):
            tokenized = data()
            others = {i: own for i, own in enumerate(tokenized) if own.tokenizer_id != tokenized[0].tokenizer_id}
            trainee = start(job, trust_remote_code=context.trust_remote_code, readings=others)
            _train(job, trainee, tokenized[0], target, context)
        return FineTuneResult.model_validate_json((target / "fit.json").read_text(encoding="utf-8"))


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
        hidden_dropout_prob=architecture.dropout,
        attention_probs_dropout_prob=architecture.dropout,
        max_position_embeddings=scratch_positions(job.training.max_length),
        # BERT's 0.02 is right for its width of 768; a narrow model that starts so low takes long to begin to learn.
        initializer_range=round(math.sqrt(2 / (5 * architecture.hidden)), 4),
        pad_token_id=job.reader.tokenizer.pad_token_id,
    )


@dataclass(frozen=True)
class Trainee:
    """What is trained: a model by a method, and how its result is written to a folder."""

    method: Method
    model: PreTrainedModel | joint_teachers.Member
    save: Callable[[Path], None]


def start(job: TeacherJob, *, trust_remote_code: bool, readings: Mapping[int, TokenizedTask] | None = None) -> Trainee:
    """What `fine_tune` trains, before its first step. `readings`: see `JointFineTuning`."""
    task, seed = task_info(job.data.task), job.seed
    if job.group is None:
        model = untrained(job, trust_remote_code=trust_remote_code)
        own = shape(model.config, job.name)
        method: Method = SupervisedFineTuning(MethodConfig(), task=task, student=own, teachers=(), seed=seed)
        return Trainee(method, model, model.save_pretrained)
    models = [untrained(each, trust_remote_code=trust_remote_code) for each in job.group.members]
    members = joint_teachers.build(models, job.data.task, seed=derive(seed, "shared head"))
    own = shape(members[0].config, job.name)
    method = JointFineTuning(job.group.cofinetuning, members, task=task, student=own, seed=seed, tokenizations=readings)
    return Trainee(method, members[0], lambda path: joint_teachers.save(members, path))


def _train(job: TeacherJob, trainee: Trainee, data: TokenizedTask, target: Path, context: JobContext) -> None:
    """Train a cohort of one run, and store what it made in `target`."""
    stream = cohort_driver.batch_stream(data, job.training, data_seed=job.seed)
    run = Run(
        RunId(key=job.key, task=data.task.name, label=job.row, student="", seed=job.seed, role="teacher"),
        trainee.method,
        trainee.model,
        teachers=(),
        training=job.training,
        overrides={},
        batches_per_epoch=stream.batches_per_epoch,
        device=context.device,
        observe=run_records.reporter(context.host),
    )
    checkpoint = target.with_name(f"{target.name}.pt")
    runs = cohort_driver.resume([run], lambda run: checkpoint, context.host)
    for finished in cohort_driver.train(Cohort(stream, {}, runs, context.device), lambda run: checkpoint, context):
        if run.error is not None:
            raise UserError(f"teacher {job.name} on {data.task.name} failed: {run.error}")
        _refuse_not_finite(run, job)
        _store(trainee, job, finished, target)
        atomic_writes.forget(checkpoint)


def _store(trainee: Trainee, job: TeacherJob, finished: FinishedRun, target: Path) -> None:
    cost = _share(finished.cost(), job)
    fit = FineTuneResult(losses=finished.run.history, cost=cost, provenance=finished.provenance())
    atomic_writes.write(target, lambda path: _export(trainee, job, fit, path))


def _refuse_not_finite(run: Run, job: TeacherJob) -> None:
    """Raises `UserError` for weights that would be stored with NaN or infinite values, also those of other members."""
    try:
        for trained in (run.student, run.modules):
            finite_checks.check_weights(trained, f"after the last step, {run.position}")
    except finite_checks.NotFinite as error:
        raise UserError(
            f"teacher {job.name} on {job.data.task.name} failed: {error}; it is not stored. Lower"
            f" teachers.{job.alone.name}.lr, or take training.precision fp32"
        ) from None


def _share(cost: Cost, job: TeacherJob) -> Cost:
    """One teacher's part: those that are trained together bear the time evenly."""
    among = len(job.group.members) if job.group else 1
    times = {"wall_seconds": cost.wall_seconds / among, "student_seconds": cost.student_seconds / among}
    return cost.model_copy(update=times)


def _export(trainee: Trainee, job: TeacherJob, fit: FineTuneResult, path: Path) -> None:
    with quiet_transformers():
        trainee.save(path)
    for index, member in enumerate(job.group.members if job.group else ()):
        member.reader.tokenizer.save_pretrained(path / str(index))
    if job.group is None:
        job.reader.tokenizer.save_pretrained(path)
    (path / "fit.json").write_text(fit.model_dump_json(indent=1), encoding="utf-8")
    checksums.seal(path)
