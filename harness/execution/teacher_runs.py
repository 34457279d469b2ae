"""Fine-tunes teachers, once for each (model, task, settings), and caches them by key.

A checkpoint that is fine-tuned already is only copied to the cache, with its classes in the task's order.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import UserError
from harness.api.events import LossPoint
from harness.api.method import Method, MethodConfig
from harness.api.seeds import derive
from harness.config.teacher_schema import Architecture
from harness.execution import cohort_driver, run_records, stored_students
from harness.execution.cached_folder import CachedFolder
from harness.execution.cohort_driver import FinishedRun
from harness.execution.context import JobContext
from harness.models import heads, joint_teachers, pretrained
from harness.models.families import scratch_positions, shape
from harness.models.output_scale import in_label_unit
from harness.models.quiet_transformers import quiet_transformers
from harness.planning.job_inputs import task_info
from harness.planning.jobs import TeacherJob
from harness.storage import atomic_writes, cache_dir, checksums, provenance
from harness.storage.frozen_model import FrozenModel
from harness.storage.hashing import key
from harness.storage.records import Cost, Provenance
from harness.storage.store import Store
from harness.training import finite_checks
from harness.training.batch_stream import TokenizedTask
from harness.training.cohort import Cohort
from harness.training.finetuning import JointFineTuning, SupervisedFineTuning
from harness.training.run import Run

if TYPE_CHECKING:
    from transformers import BertConfig, PreTrainedModel


FIT = "fit.json"
"""File in the folder of a cached teacher: how it was fine-tuned."""


class FineTuneResult(FrozenModel):
    """Losses, cost and provenance of a fine-tuning, cached with the weights as `FIT`."""

    losses: list[LossPoint]
    cost: Cost
    provenance: Provenance


def cached(job: TeacherJob) -> CachedFolder:
    """The fine-tuned teacher in the cache. Jointly trained teachers share a folder."""
    path = cache_dir.root() / "teachers" / (job.group.key if job.group else job.key)
    return CachedFolder(path, f"teacher {job.name} on {job.data.task.name}")


def weights_digest(job: TeacherJob) -> str:
    """Digest of a cached teacher as a model: of its weights, configuration and tokenizer; 16 hex digits.

    Its key does not tell its weights: trained again on another processor, or by operations that are not deterministic,
    it has other ones.
    """
    files = checksums.entries(cached(job).path)
    return checksums.of_json({name: checksum for name, checksum in files.items() if name != FIT})


def weights_id(job: TeacherJob) -> str:
    """An id of the outputs of a cached teacher: its key, and what the cache has under this key."""
    return key({"teacher": job.key, "files": weights_digest(job)})


def load(job: TeacherJob, *, trust_remote_code: bool = False) -> PreTrainedModel | joint_teachers.Member:
    """Load the fine-tuned teacher from the cache, on the CPU."""
    if job.group:
        return joint_teachers.load(cached(job).path, job.index, job.data.task, trust_remote_code=trust_remote_code)
    return heads.load(cached(job).path, job.data.task, seed=0, trust_remote_code=trust_remote_code)


def add_to_cache(job: TeacherJob, data: Callable[[], Sequence[TokenizedTask]], context: JobContext) -> FineTuneResult:
    """Fine-tune a teacher, with its group, or copy a fine-tuned checkpoint, unless the cache has it.

    `data` tokenizes the task for this teacher, or for each teacher of its group in order. It is called only if the
    teacher must be trained.

    Raises:
        Interrupted: the process was asked to stop; the next call continues.
        UserError: the training failed, or its weights are not finite.
    """
    target = cached(job)
    found = target.found_intact()
    if not found and not job.spec.finetune:
        _copy(job, target, context)
    elif not found:
        tokenized = data()
        others = {i: task for i, task in enumerate(tokenized) if task.tokenizer_id != tokenized[0].tokenizer_id}
        trainee = start(job, trust_remote_code=context.trust_remote_code, readings=others)
        _train(job, trainee, tokenized[0], target, context)
    return _read_fit(target)


def cached_fit(job: TeacherJob) -> FineTuneResult | None:
    """How a cached teacher was fine-tuned; None if the cache has no such file, or a damaged one."""
    try:
        return _read_fit(cached(job))
    except (OSError, ValueError):
        return None


def _read_fit(folder: CachedFolder) -> FineTuneResult:
    return FineTuneResult.model_validate_json((folder.path / FIT).read_text(encoding="utf-8"))


def is_copied(job: TeacherJob, store: Store, *, verify: bool) -> bool:
    """Whether the cache has the student of `copy_student` as it is now. `verify`: see `CachedFolder.is_kept`."""
    copy = cached(job)
    return copy.is_kept(verify=verify) and stored_students.is_current(copy, store.run_folder(job.key))


def copy_student(job: TeacherJob, store: Store) -> None:
    """Copy the trained student of a teacher that is a row of the suite from the results folder to the cache.

    Raises:
        UserError: the results folder does not have the student any more, or its files are damaged.
    """
    assert job.run is not None  # the plan makes such jobs for rows only
    target, remedy = cached(job), f"train it again: harness rerun SUITE {job.key}"
    target.warn_if_damaged()
    try:
        student = stored_students.find(store.run_folder(job.key))
    except stored_students.RemovedStudentError as removed:
        raise UserError(f"{removed}: the student of {job.run.planned.label} was removed; {remedy}") from None
    except checksums.CorruptFileError as damage:
        raise UserError(f"{damage}; {remedy}") from None
    target.write(lambda path: shutil.copytree(student, path))


def untrained(job: TeacherJob, *, trust_remote_code: bool) -> PreTrainedModel:
    """Build the teacher before fine-tuning: its checkpoint with a new head, or random weights."""
    seed = derive(job.spec.seed, "teacher")
    if job.spec.architecture is not None:
        return heads.from_config(_bert(job.spec.architecture, job), job.data.task, seed=seed)
    if job.checkpoint is None:
        raise AssertionError(f"teacher {job.name} has neither a checkpoint nor an architecture")
    return heads.load(job.checkpoint, job.data.task, seed=seed, trust_remote_code=trust_remote_code)


def _bert(architecture: Architecture, job: TeacherJob) -> BertConfig:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=len(job.tokenizer_ref.tokenizer),
        num_hidden_layers=architecture.layers,
        hidden_size=architecture.hidden,
        num_attention_heads=architecture.heads,
        intermediate_size=architecture.ffn,
        hidden_dropout_prob=architecture.dropout,
        attention_probs_dropout_prob=architecture.dropout,
        max_position_embeddings=scratch_positions(job.training.max_length),
        # BERT's 0.02 suits its hidden size of 768; with it, narrow models learn very slowly at first.
        initializer_range=round(math.sqrt(2 / (5 * architecture.hidden)), 4),
        pad_token_id=job.tokenizer_ref.tokenizer.pad_token_id,
    )


@dataclass(frozen=True)
class Trainee:
    """A model to train, the method that trains it, and a function that saves the result to a folder."""

    method: Method
    model: PreTrainedModel | joint_teachers.Member
    save: Callable[[Path], None]


def start(job: TeacherJob, *, trust_remote_code: bool, readings: Mapping[int, TokenizedTask] | None = None) -> Trainee:
    """Build the model and the method of a fine-tuning. `readings`: `tokenizations` of `JointFineTuning`."""
    task, seed = task_info(job.data.task), job.seed
    if job.group is None:
        model = untrained(job, trust_remote_code=trust_remote_code)
        dimensions = shape(model.config, job.name)
        method: Method = SupervisedFineTuning(MethodConfig(), task=task, student=dimensions, teachers=(), seed=seed)

        def save(path: Path) -> None:
            with in_label_unit(model, job.data.task.label_scale):
                model.save_pretrained(path)

        return Trainee(method, model, save)
    models = [untrained(member, trust_remote_code=trust_remote_code) for member in job.group.members]
    members = joint_teachers.build(models, job.data.task, seed=derive(seed, "shared head"))
    dimensions = shape(members[0].config, job.name)
    method = JointFineTuning(
        job.group.cofinetuning, members, task=task, student=dimensions, seed=seed, tokenizations=readings
    )
    return Trainee(method, members[0], lambda path: joint_teachers.save(members, path))


def _copy(job: TeacherJob, target: CachedFolder, context: JobContext) -> None:
    """Store the fine-tuned checkpoint of a teacher in `target`, with its classes in the task's order."""
    assert job.checkpoint is not None  # the schema allows `finetune: false` with `model` only
    started = provenance.now()
    if pretrained.fingerprint(job.checkpoint) != job.parts["model"]["checkpoint"]:
        raise UserError(f"{job.checkpoint} has changed since the suite was planned; start the command again")
    model = heads.load_finetuned(job.checkpoint, job.data.task, job.order, trust_remote_code=context.trust_remote_code)
    try:
        finite_checks.check_weights(model, "in the checkpoint")
    except finite_checks.NotFinite as error:
        raise UserError(f"{job.checkpoint}: {error}; give teachers.{job.row}.model another checkpoint") from None
    fit = FineTuneResult(
        losses=[], cost=run_records.NO_COST, provenance=run_records.provenance_of(context.device, started)
    )
    target.write(lambda path: _export(model.save_pretrained, job, fit, path))


def _train(job: TeacherJob, trainee: Trainee, data: TokenizedTask, target: CachedFolder, context: JobContext) -> None:
    """Train the teacher as a cohort of one run, and store the result in `target`."""
    stream = cohort_driver.batch_stream(data, job.training, data_seed=job.seed)
    run = Run(
        run_records.run_id(job),
        trainee.method,
        trainee.model,
        teachers=(),
        training=job.training,
        overrides={},
        batches_per_epoch=stream.batches_per_epoch,
        device=context.device,
        observe=run_records.reporter(context.host),
    )
    checkpoint = target.path.with_name(f"{target.path.name}.pt")
    runs = cohort_driver.resume([run], lambda run: checkpoint)
    for finished in cohort_driver.train(Cohort(stream, {}, runs, context.device), lambda run: checkpoint, context):
        if run.error is not None:
            raise UserError(run.error)
        _check_weights(run, job)
        _store(trainee, job, finished, target)
        atomic_writes.forget(checkpoint)


def _store(trainee: Trainee, job: TeacherJob, finished: FinishedRun, target: CachedFolder) -> None:
    cost = _share(finished.cost(), job)
    fit = FineTuneResult(losses=finished.run.history, cost=cost, provenance=finished.provenance())
    target.write(lambda path: _export(trainee.save, job, fit, path))


def _check_weights(run: Run, job: TeacherJob) -> None:
    """Raise `UserError` if weights of the teacher, or of a member of its group, are not finite."""
    try:
        for trained in (run.student, run.modules):
            finite_checks.check_weights(trained, f"after the last step, {run.position}")
    except finite_checks.NotFinite as error:
        raise UserError(
            f"{error}; it is not stored. Lower teachers.{job.alone.name}.lr, or take training.precision fp32"
        ) from None


def _share(cost: Cost, job: TeacherJob) -> Cost:
    """The cost of one teacher: jointly trained teachers share the time equally."""
    among = len(job.group.members) if job.group else 1
    times = {"wall_seconds": cost.wall_seconds / among, "student_seconds": cost.student_seconds / among}
    return cost.model_copy(update=times)


def _export(save: Callable[[Path], None], job: TeacherJob, fit: FineTuneResult, path: Path) -> None:
    with quiet_transformers():
        save(path)
    for index, member in enumerate(job.group.members if job.group else ()):
        member.tokenizer_ref.tokenizer.save_pretrained(path / str(index))
        if member.checkpoint is not None:
            pretrained.copy_code(member.checkpoint, path / str(index))
    if job.group is None:
        job.tokenizer_ref.tokenizer.save_pretrained(path)
    (path / FIT).write_text(fit.model_dump_json(indent=1), encoding="utf-8")
