"""Cached teacher outputs: computes missing outputs, and removes the least recently used to limit the disk usage."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from harness.config.schema import SuiteSpec
from harness.execution.context import JobContext
from harness.execution.progress_events import preparing
from harness.execution.signals import Interrupted, locked
from harness.models.families import shape
from harness.planning import keys
from harness.planning.jobs import RunJob, TeacherJob
from harness.storage import atomic_writes, cache_dir
from harness.teacher_outputs import fill
from harness.teacher_outputs.fill import FillResult
from harness.teacher_outputs.output_store import CachedTeacher, TeacherOutputStore, stored_for
from harness.training.batch_stream import TokenizedTask
from harness.training.cohort import Teacher

log = logging.getLogger("harness")

GB = 10**9

LoadTeacher = Callable[[], Teacher]


def root() -> Path:
    """The cache folder of teacher outputs."""
    return cache_dir.root() / "tensors"


def output_store(job: TeacherJob, data: TokenizedTask, spec: SuiteSpec, device: torch.device) -> TeacherOutputStore:
    """The store of the teacher's outputs on the training rows of `data`."""
    numeric = keys.numeric(device.type, spec.training.precision, tf32=spec.training.tf32)
    del numeric["teacher_tensors"]
    return TeacherOutputStore.of(root(), job.key, data, numeric)


def needed_outputs(job: TeacherJob, runs: Collection[RunJob], tokenizer_id: str) -> frozenset[str]:
    """Names of the teacher's outputs, in the tokens of `tokenizer_id`, that runs with cached teacher outputs need."""
    return stored_for(
        name
        for run in runs
        for index, teacher in enumerate(run.teachers)
        if run.kept and teacher.key == job.key and teacher.reader.beside(run.reader.fingerprint) == tokenizer_id
        for name in run.needs(index)
    )


def open_outputs(
    outputs: TeacherOutputStore,
    names: frozenset[str],
    name: str,
    load: LoadTeacher,
    *,
    spec: SuiteSpec,
    context: JobContext,
) -> tuple[CachedTeacher, FillResult]:
    """Open cached teacher outputs, and compute those of `names` that are missing.

    Logits, and for sentences the pooled state, are always computed together with other outputs: they are small.

    Args:
        outputs: the store of the outputs.
        names: names of the outputs that runs need.
        name: the name that the runs use for the teacher.
        load: loads the teacher; called only if outputs are missing.
        spec: the suite.
        context: the environment of the job.

    Returns:
        The cached teacher, and the cost of computing the missing outputs.

    Raises:
        Interrupted: the process was asked to stop; the next call continues.
        InsufficientMemory: a batch of the pass does not fit into memory.
        DiskError: the disk is full or failing.
    """
    outputs.folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(outputs.folder, context.stop):  # another process may be computing the same outputs
        filled = FillResult()
        if outputs.missing(names):
            if damage := outputs.damage(names):
                log.warning("cached outputs of a teacher are damaged and are computed again: %s", damage)
            missing = outputs.missing(names | {"logits"} | (set() if outputs.qa else {"pooled"}))
            teacher = load()
            _evict(_required_bytes(outputs, missing, teacher), outputs.folder, spec.teacher_cache.max_gb)
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
        os.utime(outputs.folder)
        return CachedTeacher(name, outputs, names), filled


def _evict(required: float, current: Path, max_gb: float) -> None:
    """Remove least recently used folders, except `current`, until `required` bytes fit below `max_gb`.

    Folders that another process has locked are skipped. Processes that have the files open can continue to read them.
    """
    sizes = {folder: _folder_size(folder) for folder in root().iterdir() if folder.is_dir()}
    free = max_gb * GB - sum(sizes.values()) - required
    for folder in sorted(sizes.keys() - {current}, key=_last_used):
        if free >= 0:
            return
        try:
            with FileLock(f"{folder}.lock", timeout=0):
                atomic_writes.remove(folder)
                free += sizes[folder]
        except Timeout:
            continue


def _required_bytes(outputs: TeacherOutputStore, names: Collection[str], teacher: Teacher) -> float:
    """Upper bound of the bytes that the outputs will take on disk."""
    width = shape(teacher.model.config, teacher.name).hidden
    return sum(4.0 * width * outputs.layout.entries(name, outputs.qa) for name in names if name != "logits")


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
