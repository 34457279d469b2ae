"""The teacher tensors that the cache keeps: who fills them, and what makes room for them."""

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
    """Where they are kept."""
    return cache_dir.root() / "tensors"


def output_store(job: TeacherJob, data: TokenizedTask, spec: SuiteSpec, device: torch.device) -> TeacherOutputStore:
    """The cached outputs of that teacher on the training rows of `data`."""
    numeric = keys.numeric(device.type, spec.training.precision, tf32=spec.training.tf32)
    del numeric["teacher_tensors"]
    return TeacherOutputStore.of(root(), job.key, data, numeric)


def needed_outputs(job: TeacherJob, runs: Collection[RunJob], reader: str) -> frozenset[str]:
    """The outputs of the teacher that those of `runs` need which read cached outputs, with the tokenizer `reader`."""
    return stored_for(
        name
        for run in runs
        for index, teacher in enumerate(run.teachers)
        if run.kept and teacher.key == job.key and teacher.reader.beside(run.reader.fingerprint) == reader
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

    Args:
        outputs: where they are stored.
        names: outputs that runs need.
        name: what the runs call the teacher.
        load: loads the teacher; called only if outputs are missing.

    Returns:
        The teacher that reads them, and what it took to compute the missing ones. Logits, and for sentences the pooled
        state, are always computed together with others: they take little space.

    Raises:
        Interrupted: the process was asked to stop; the next call continues.
        InsufficientMemory: memory does not suffice for a batch of the pass.
        UserError: the disk is full.
    """
    outputs.folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(outputs.folder, context.stop):  # another process may be computing the same outputs
        filled = FillResult()
        if outputs.missing(names):
            if damage := outputs.damage(names):
                log.warning("cached outputs of a teacher are damaged and are computed again: %s", damage)
            missing = outputs.missing(names | {"logits"} | (set() if outputs.qa else {"pooled"}))
            teacher = load()
            _make_room(_bytes(outputs, missing, teacher), outputs.folder, spec.teacher_cache.max_gb)
            what = f"outputs of {teacher.name} on {outputs.data.task.name}"
            try:
                with preparing(context.host, what, "batches", len(outputs.layout.batches)) as tell:
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


def _make_room(needed: float, mine: Path, max_gb: float) -> None:
    """Remove tensors that were not used for longest, so that those to come fit. None that somebody is at; and whoever
    reads some already goes on doing so."""
    sizes = {folder: _size(folder) for folder in root().iterdir() if folder.is_dir()}
    free = max_gb * GB - sum(sizes.values()) - needed
    for folder in sorted(sizes.keys() - {mine}, key=_used):
        if free >= 0:
            return
        try:
            with FileLock(f"{folder}.lock", timeout=0):
                atomic_writes.remove(folder)
                free += sizes[folder]
        except Timeout:
            continue


def _bytes(outputs: TeacherOutputStore, names: Collection[str], teacher: Teacher) -> float:
    """What the tensors will take, at most."""
    width = shape(teacher.model.config, teacher.name).hidden
    return sum(4.0 * width * outputs.layout.entries(name, outputs.qa) for name in names if name != "logits")


def _size(folder: Path) -> int:
    """Bytes in the folder, or in what is left of it where another process is removing it."""
    size = 0
    with suppress(FileNotFoundError):
        for file in folder.iterdir():
            size += file.stat().st_size
    return size


def _used(folder: Path) -> float:
    """When it was last read; long ago if it is gone."""
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0
