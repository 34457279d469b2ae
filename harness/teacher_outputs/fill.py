"""Computes missing teacher outputs in a fixed batch order, so that cached values are bit-identical.

The last bits of an example's outputs depend on the batch that it is computed in. So this canonical pass has fixed
batches in a fixed order, padded to multiples of 16, whichever outputs are missing.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO

import torch
import xxhash
from torch import Tensor

from harness.api.batch import Batch
from harness.api.errors import UserError
from harness.api.model_outputs import ModelOutputs
from harness.config.training_schema import TrainingSpec
from harness.models.families import most_tokens
from harness.storage import atomic_writes, checksums
from harness.storage.disk_errors import explained
from harness.storage.frozen_model import FrozenModel
from harness.tasks.tokenization import collate
from harness.teacher_outputs.output_store import (
    OutputManifest,
    StoredTensor,
    TeacherOutputStore,
    by_token,
    dtype,
    kept_dtype,
    tokens_last,
)
from harness.training import finite_checks
from harness.training.teacher import Teacher

log = logging.getLogger("harness")

PADDED_TO = 16
PROGRESS = "progress.json"
"""File of a store's folder that describes an unfinished pass."""

SAVED_EVERY = 64
"""Batches after which progress is saved; an interrupted pass resumes there."""

ELSEWHERE = "set HARNESS_CACHE to a folder on a larger disk, or lower teacher_cache.max_gb"
"""What helps if the disk of the cached outputs is full, apart from freeing space."""


@dataclass(frozen=True)
class FillResult:
    """Cost of a pass, including parts before an interruption: forward passes of the teacher, and seconds."""

    forwards: int = 0
    seconds: float = 0.0


class Stopped(Exception):
    """The pass was stopped. The next pass for the same outputs resumes it."""


class FillProgress(FrozenModel):
    """State of an unfinished pass: batches that are safely on disk, and the outputs, bytes and checksums written."""

    done: int
    tensors: dict[str, StoredTensor]
    bytes: dict[str, int]
    checksums: dict[str, str]
    seconds: float


NO_PROGRESS = FillProgress(done=0, tensors={}, bytes={}, checksums={}, seconds=0.0)


def fill(
    store: TeacherOutputStore,
    names: Collection[str],
    teacher: Teacher,
    *,
    training: TrainingSpec,
    device: torch.device,
    stop: Callable[[], bool],
    on_progress: Callable[[int], None],
) -> FillResult:
    """Compute and store the outputs `names`, none of which is in `store`.

    The caller must hold the lock of the store's folder. `on_progress` is called with the number of finished batches.

    Raises:
        Stopped: `stop` returned true.
        InsufficientMemory: memory does not suffice for a batch of the pass.
        DiskError: the disk is full or failing.
        UserError: outputs are not finite.
    """
    with explained(store.folder, elsewhere=ELSEWHERE):
        return _Pass(store, sorted(names), teacher, training, device).run(stop, on_progress)


class _Pass:
    """One canonical pass of a teacher over a training set."""

    def __init__(
        self,
        store: TeacherOutputStore,
        names: list[str],
        teacher: Teacher,
        training: TrainingSpec,
        device: torch.device,
    ) -> None:
        self.store = store
        self.names = names
        self.teacher = teacher
        self.training = training
        self.device = device
        self.most = most_tokens(teacher.model.config)
        self.entries: dict[str, StoredTensor] = {}
        self.digests: dict[str, xxhash.xxh3_64] = {}

    def run(self, stop: Callable[[], bool], on_progress: Callable[[int], None]) -> FillResult:
        """Resume or start the pass, and add its outputs to the manifest. Raises as `fill` does."""
        batches, folder = self.store.layout.batches, self.store.folder
        folder.mkdir(parents=True, exist_ok=True)
        before = self._load_progress()
        began = time.perf_counter() - before.seconds
        self.entries = dict(before.tensors)
        with ExitStack() as stack:
            files = {name: stack.enter_context(self._open(name, before.bytes.get(name, 0))) for name in self.names}
            for done, rows in enumerate(batches[before.done :], start=before.done):
                on_progress(done)
                stopped = stop()
                if done > before.done and (stopped or done % SAVED_EVERY == 0):
                    self._save(files, done, time.perf_counter() - began)
                if stopped:
                    raise Stopped
                for name, block in self._compute(rows).items():
                    files[name].write(block.numpy().data)
                    self.digests[name].update(block.numpy().data)
            on_progress(len(batches))
            _sync(files)
        self._update_manifest()
        return FillResult(len(batches), time.perf_counter() - began)

    def _compute(self, rows: list[int]) -> dict[str, Tensor]:
        """The outputs of one batch, as bytes to write, by name."""
        data = self.store.data
        multiple = PADDED_TO
        if self.most is not None and -(-int(data.train.lengths[rows].max()) // multiple) * multiple > self.most:
            multiple = 1  # the padding would exceed the model's positions
        batch = collate(data.train, rows, data.pad_token_id, pad_to_multiple_of=multiple).to(self.device)
        # Never split: the last bits of an output depend on the batch that it is computed in.
        outputs = self.teacher.forward(batch, frozenset(self.names), self.training, can_split=False)
        blocks = {name: _rows(name, outputs, batch) for name in self.names}
        self._check_finite(blocks, rows)
        stored = {}
        for name, block in blocks.items():
            given = str(block.dtype).removeprefix("torch.")
            kept = kept_dtype(given, self.training.precision)
            self.entries[name] = StoredTensor(shape=tuple(block.shape[1:]), kept=kept, given=given)
            stored[name] = block.to(dtype(kept)).contiguous().cpu().view(torch.uint8)
        return stored

    def _check_finite(self, blocks: Mapping[str, Tensor], rows: list[int]) -> None:
        """Raise `UserError` for outputs with NaN or infinite values."""
        try:
            finite_checks.check(blocks, f"outputs of teacher {self.teacher.name} are not finite")
        except finite_checks.NotFinite as error:
            example = self.store.data.train.ids[rows[0]]
            raise UserError(
                f"{error}, in the batch of the training set of {self.store.data.task.name} that begins with example"
                f" {example!r}; the batch is not cached. Set training.precision to fp32 or bf16, or use another teacher"
            ) from None

    def _load_progress(self) -> FillProgress:
        """The progress of an interrupted pass for the same outputs, if its files are undamaged."""
        try:
            progress = checksums.read_json(self.store.folder / PROGRESS, FillProgress)
            if sorted(progress.tensors) != self.names:
                return NO_PROGRESS
            self._verify(progress)
        except FileNotFoundError:
            return NO_PROGRESS
        except checksums.CorruptFileError as damage:
            log.warning("outputs of teacher %s are computed from the first batch again: %s", self.teacher.name, damage)
            return NO_PROGRESS
        return progress

    def _verify(self, progress: FillProgress) -> None:
        """Raise `CorruptFileError` if a file does not have the checksum that the interrupted pass recorded."""
        for name, size in progress.bytes.items():
            file = self.store.file(name)
            if not file.exists() or checksums.digest_of_prefix(file, size).hexdigest() != progress.checksums.get(name):
                raise checksums.CorruptFileError(f"{file} does not match its checksum")

    def _open(self, name: str, size: int) -> IO[bytes]:
        """The output's file, truncated to its first `size` bytes and positioned at the end."""
        path = self.store.file(name)
        if not size:  # a new file, because another process may have the old one memory-mapped
            path.unlink(missing_ok=True)
        path.touch()
        self.digests[name] = checksums.digest_of_prefix(path, size)
        file = path.open("r+b")
        file.truncate(size)
        file.seek(size)
        return file

    def _save(self, files: Mapping[str, IO[bytes]], done: int, seconds: float) -> None:
        _sync(files)
        sizes = {name: file.tell() for name, file in files.items()}
        progress = FillProgress(
            done=done, tensors=self.entries, bytes=sizes, checksums=self._checksums(), seconds=seconds
        )
        checksums.write_json(self.store.folder / PROGRESS, progress)

    def _checksums(self) -> dict[str, str]:
        """Checksum of what is written of each output."""
        return {name: digest.hexdigest() for name, digest in self.digests.items()}

    def _update_manifest(self) -> None:
        """Add the outputs of this pass to the manifest."""
        old = self.store.manifest
        tensors = {**(old.tensors if old else {}), **self.entries}
        sums = {**(old.checksums if old else {}), **self._checksums()}
        scalings = self.teacher.capture.scalings
        self.store.write(
            OutputManifest(parts=dict(self.store.parts), scalings=scalings, tensors=tensors, checksums=sums)
        )
        atomic_writes.forget(self.store.folder / PROGRESS)


def _rows(name: str, outputs: ModelOutputs, batch: Batch) -> Tensor:
    """An output at the batch's real tokens, [tokens, ...], or per example, [B, ...]."""
    tensor: Tensor
    if "[" in name:
        kind, layer = name.rstrip("]").split("[")
        tensor = getattr(outputs, kind)[int(layer)]
    else:
        tensor = getattr(outputs, name)
    if not by_token(name, batch.kind):
        return tensor
    return (tensor.transpose(1, 2) if tokens_last(name, batch.kind) else tensor)[batch.mask]


def _sync(files: Mapping[str, IO[bytes]]) -> None:
    for file in files.values():
        file.flush()
        os.fsync(file.fileno())
