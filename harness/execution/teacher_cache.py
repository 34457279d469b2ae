"""Cached teacher outputs: computes missing outputs, and removes the least recently used to limit the disk usage."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import torch

from harness.api.engine import Interrupted
from harness.config.schema import SuiteSpec
from harness.execution import teacher_runs
from harness.execution.claims import Claims
from harness.execution.context import JobContext
from harness.execution.progress_events import preparing
from harness.models.families import shape
from harness.planning import keys
from harness.planning.cache_decisions import GB
from harness.planning.jobs import RunJob, TeacherJob
from harness.storage import atomic_writes, cache_dir, folder_checks
from harness.storage.frozen_model import FrozenModel
from harness.teacher_outputs import fill
from harness.teacher_outputs.fill import FillResult
from harness.teacher_outputs.output_store import CachedTeacher, TeacherOutputStore, size_in_bytes, stored_for
from harness.training.batch_stream import TokenizedTask
from harness.training.teacher import Teacher

log = logging.getLogger("harness")

PASS_COST = "pass_cost.json"
"""File in the folder of cached outputs: the cost of passes that no cohort has been charged for yet."""

LoadTeacher = Callable[[], Teacher]


class PassCost(FrozenModel):
    """Cost of passes of a teacher: its forward passes, and seconds."""

    forwards: int
    seconds: float


def root() -> Path:
    """The cache folder of teacher outputs."""
    return cache_dir.root() / "tensors"


def output_store(job: TeacherJob, data: TokenizedTask, spec: SuiteSpec, device: torch.device) -> TeacherOutputStore:
    """The store of the outputs of a teacher, which is cached itself, on the training rows of `data`."""
    numeric = keys.numeric(device.type, spec.training.precision, tf32=spec.training.tf32)
    del numeric["teacher_tensors"]
    return TeacherOutputStore.of(root(), teacher_runs.weights_id(job), data, numeric)


def needed_outputs(job: TeacherJob, runs: Collection[RunJob], tokenizer_id: str) -> frozenset[str]:
    """Names of the teacher's outputs, in the tokens of `tokenizer_id`, that runs with cached teacher outputs need."""
    return stored_for(
        name
        for run in runs
        for index, teacher in enumerate(run.teachers)
        if run.reads_cache
        and teacher.key == job.key
        and teacher.tokenizer_ref.encoding_id(run.tokenizer_ref.fingerprint) == tokenizer_id
        for name in run.needs(index)
    )


def complete(
    outputs: TeacherOutputStore, names: frozenset[str], load: LoadTeacher, *, spec: SuiteSpec, context: JobContext
) -> None:
    """Compute the outputs of `names` that are missing, and store the cost of the pass for the cohort that reads them.

    Logits, and for sentences the pooled state, are always computed together with other outputs: they are small.

    Args:
        outputs: the store of the outputs.
        names: names of the outputs that runs need.
        load: loads the teacher; called only if outputs are missing.
        spec: the suite.
        context: the environment of the job.

    Raises:
        Interrupted: the process was asked to stop; the next call continues.
        InsufficientMemory: a batch of the pass does not fit into memory.
        DiskError: the disk is full or failing.
    """
    with _claimed(outputs, context):
        _complete(outputs, names, load, spec, context)


def open_outputs(
    outputs: TeacherOutputStore,
    names: frozenset[str],
    name: str,
    load: LoadTeacher,
    *,
    spec: SuiteSpec,
    context: JobContext,
) -> tuple[CachedTeacher, FillResult]:
    """Open cached teacher outputs, after computing those that are missing. See `complete`.

    Returns:
        The cached teacher, named `name`, and the cost of the passes that no cohort has been charged for yet.
    """
    with _claimed(outputs, context):
        _complete(outputs, names, load, spec, context)
        cost = _take_cost(outputs)
        os.utime(outputs.folder)
        # Still claimed: it reads all files to check them, which takes minutes if they are large.
        return CachedTeacher(name, outputs, names), cost


def _claimed(outputs: TeacherOutputStore, context: JobContext) -> AbstractContextManager[None]:
    """Claim the outputs, so that no other process computes or evicts them."""
    outputs.folder.parent.mkdir(parents=True, exist_ok=True)
    return context.claims.held(outputs.folder, "cached outputs of a teacher", context.stop)


def _complete(
    outputs: TeacherOutputStore, names: frozenset[str], load: LoadTeacher, spec: SuiteSpec, context: JobContext
) -> None:
    if not outputs.missing(names):
        return
    if damage := outputs.damage(names):
        log.warning("cached outputs of a teacher are damaged and are computed again: %s", damage)
    missing = outputs.missing(
        names | {"logits"} | (set() if outputs.kind in ("token_classification", "qa") else {"pooled"})
    )
    teacher = load()
    required = _additional_bytes(outputs, missing, teacher, spec.training.precision)
    _evict(required, outputs.folder, spec.teacher_cache.max_gb, context.claims)
    description = f"outputs of {teacher.name} on {outputs.data.task.name}"
    try:
        with preparing(context.host, description, "batches", len(outputs.layout.batches)) as tell:
            filled = fill.fill(
                outputs,
                missing,
                teacher,
                training=spec.training,
                device=context.device,
                stop=context.stop,
                on_progress=tell,
            )
    except fill.Stopped:
        raise Interrupted from None
    charged = _take_cost(outputs)
    total = PassCost(forwards=charged.forwards + filled.forwards, seconds=charged.seconds + filled.seconds)
    atomic_writes.write_text(outputs.folder / PASS_COST, total.model_dump_json())


def _take_cost(outputs: TeacherOutputStore) -> FillResult:
    """Return the cost of the passes that no cohort has been charged for, and remove it."""
    path = outputs.folder / PASS_COST
    try:
        cost = PassCost.model_validate_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # a damaged file loses the cost of a pass, not a result
        return FillResult()
    path.unlink()
    return FillResult(cost.forwards, cost.seconds)


def _evict(required: float, current: Path, max_gb: float, claims: Claims) -> None:
    """Remove least recently used folders, except `current`, until `required` bytes fit below `max_gb`.

    Folders that another process has claimed are skipped. Processes that have the files open can continue to read them.
    """
    sizes = {folder: _folder_size(folder) for folder in folder_checks.folders(root())}
    free = max_gb * GB - sum(sizes.values()) - required
    for folder in sorted(sizes.keys() - {current}, key=_last_used):
        if free >= 0:
            return
        if claims.take(folder, "eviction of cached outputs"):
            try:
                atomic_writes.remove(folder)
                free += sizes[folder]
            finally:
                claims.release(folder)


def _additional_bytes(outputs: TeacherOutputStore, names: Collection[str], teacher: Teacher, precision: str) -> float:
    """Upper bound of the bytes that the outputs will add to the disk: less what an unfinished pass has written."""
    hidden, labels = shape(teacher.model.config, teacher.name).hidden, outputs.data.task.num_labels
    return sum(
        size_in_bytes(outputs.layout.entries(name, outputs.kind), labels if name == "logits" else hidden, precision)
        - _file_size(outputs.file(name))
        for name in names
    )


def _file_size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _folder_size(folder: Path) -> int:
    """Bytes in the folder, or in its remaining files while another process removes it."""
    size = 0
    with suppress(FileNotFoundError):
        for file in folder.iterdir():
            size += file.stat().st_size
    return size


def _last_used(folder: Path) -> float:
    """Time of the last use (seconds since the epoch); 0 if the folder was removed."""
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0
