"""The canonical pass: what a shelf lacks, from a teacher, the same whoever asks for it and when.

Fixed batches in a fixed order, padded to multiples of 16: an example's tensors depend in their last bits on the batch
that it sat in, so it must always be the same one.
"""

from __future__ import annotations

import errno
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
from harness.config.schema import TrainingSpec
from harness.models.families import most_tokens
from harness.storage import atomic_writes, checksums
from harness.storage.frozen_model import FrozenModel
from harness.tasks.tokenization import collate
from harness.teacher_outputs.output_store import BY_HEAD, Entry, Manifest, TeacherOutputStore, by_token, dtype
from harness.training import finite_checks
from harness.training.cohort import Teacher

log = logging.getLogger("harness")

PADDED_TO = 16
SAVED_EVERY = 64
"""Batches after which a pass that is killed goes on."""


@dataclass(frozen=True)
class FillResult:
    """What a pass took, the parts before an interruption counted in: forward passes of the teacher, and seconds."""

    forwards: int = 0
    seconds: float = 0.0


class Stopped(Exception):
    """The pass was asked to stop; the next one for the same tensors goes on where it was."""


class Progress(FrozenModel):
    """Of an unfinished pass: batches that are safe on disk, and what the files hold with them."""

    done: int
    tensors: dict[str, Entry]
    bytes: dict[str, int]
    checksums: dict[str, str]
    seconds: float


NOTHING = Progress(done=0, tensors={}, bytes={}, checksums={}, seconds=0.0)


def fill(
    shelf: TeacherOutputStore,
    names: Collection[str],
    teacher: Teacher,
    *,
    training: TrainingSpec,
    device: torch.device,
    stop: Callable[[], bool],
    tell: Callable[[int], None],
) -> FillResult:
    """Keep the tensors `names`, none of which the shelf has. The caller sees to it that nobody else fills the shelf.
    `tell` hears how many batches are done.

    Raises:
        Stopped: `stop` said so.
        InsufficientMemory: memory does not suffice for a batch of the pass.
        UserError: the disk is full.
    """
    try:
        return _Pass(shelf, sorted(names), teacher, training, device).run(stop, tell)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"no room is left for the teacher's tensors in {shelf.folder.parent}: make some, set HARNESS_CACHE to a"
            " larger disk, or keep less (teacher_cache.max_gb)"
        ) from error


class _Pass:
    def __init__(
        self,
        shelf: TeacherOutputStore,
        names: list[str],
        teacher: Teacher,
        training: TrainingSpec,
        device: torch.device,
    ) -> None:
        self.shelf = shelf
        self.names = names
        self.teacher = teacher
        self.training = training
        self.device = device
        self.most = most_tokens(teacher.model.config)
        self.entries: dict[str, Entry] = {}
        self.digests: dict[str, xxhash.xxh3_64] = {}

    def run(self, stop: Callable[[], bool], tell: Callable[[int], None]) -> FillResult:
        batches, folder = self.shelf.layout.batches, self.shelf.folder
        folder.mkdir(parents=True, exist_ok=True)
        before = self._progress()
        began = time.perf_counter() - before.seconds
        self.entries = dict(before.tensors)
        with ExitStack() as stack:
            files = {name: stack.enter_context(self._opened(name, before.bytes.get(name, 0))) for name in self.names}
            for done, rows in enumerate(batches[before.done :], start=before.done):
                tell(done)
                stopped = stop()
                if done > before.done and (stopped or done % SAVED_EVERY == 0):
                    self._save(files, done, time.perf_counter() - began)
                if stopped:
                    raise Stopped
                for name, block in self._blocks(rows).items():
                    files[name].write(block.numpy().data)
                    self.digests[name].update(block.numpy().data)
            tell(len(batches))
            _sync(files)
        self._count(self.entries)
        return FillResult(len(batches), time.perf_counter() - began)

    def _blocks(self, rows: list[int]) -> dict[str, Tensor]:
        """What the files get of a batch, as bytes."""
        data = self.shelf.data
        multiple = PADDED_TO
        if self.most is not None and -(-int(data.train.lengths[rows].max()) // multiple) * multiple > self.most:
            multiple = 1  # the model has no positions for so much padding
        batch = collate(data.train, rows, data.pad_token_id, pad_to_multiple_of=multiple).to(self.device)
        # Whole, whoever has little memory: an example's last bits depend on the batch that it sits in.
        tensors = self.teacher.forward(batch, frozenset(self.names), self.training, splits=False)
        read = {name: _rows(name, tensors, batch, self.shelf.qa) for name in self.names}
        self._refuse_not_finite(read, rows)
        blocks = {}
        for name in self.names:
            block = read[name]
            given = str(block.dtype).removeprefix("torch.")
            kept = "bfloat16" if self.training.precision == "bf16" else given
            self.entries[name] = Entry(shape=tuple(block.shape[1:]), kept=kept, given=given)
            blocks[name] = block.to(dtype(kept)).contiguous().cpu().view(torch.uint8)
        return blocks

    def _refuse_not_finite(self, read: Mapping[str, Tensor], rows: list[int]) -> None:
        """Raises `UserError` for outputs with NaN or infinite values, which no student could learn from."""
        try:
            finite_checks.check(read, f"outputs of teacher {self.teacher.name} are not finite")
        except finite_checks.NotFinite as error:
            example = self.shelf.data.train.ids[rows[0]]
            raise UserError(
                f"{error}, in the batch of the training set of {self.shelf.data.task.name} that begins with example"
                f" {example!r}; nothing of it is cached. Take training.precision fp32 or bf16, or another teacher"
            ) from None

    def _progress(self) -> Progress:
        """Of a pass for the same tensors that did not come to its end."""
        try:
            found = checksums.read_json(self.shelf.folder / "progress.json", Progress)
            if sorted(found.tensors) != self.names:
                return NOTHING
            self._verify(found)
        except FileNotFoundError:
            return NOTHING
        except checksums.CorruptFileError as damage:
            log.warning("outputs of teacher %s are computed from the first batch again: %s", self.teacher.name, damage)
            return NOTHING
        return found

    def _verify(self, progress: Progress) -> None:
        """Raises `CorruptFileError` if a file is not what an interrupted pass has written."""
        for name, size in progress.bytes.items():
            file = self.shelf.file(name)
            if not file.exists() or checksums.digest_of_prefix(file, size).hexdigest() != progress.checksums.get(name):
                raise checksums.CorruptFileError(f"{file} does not match its checksum")

    def _opened(self, name: str, size: int) -> IO[bytes]:
        """At its end, cut to what is known to be right."""
        path = self.shelf.file(name)
        if not size:  # whoever has a file mapped goes on reading it
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
        progress = Progress(done=done, tensors=self.entries, bytes=sizes, checksums=self._checksums(), seconds=seconds)
        checksums.write_json(self.shelf.folder / "progress.json", progress)

    def _checksums(self) -> dict[str, str]:
        """Of what is written of each tensor."""
        return {name: digest.hexdigest() for name, digest in self.digests.items()}

    def _count(self, entries: Mapping[str, Entry]) -> None:
        there = self.shelf.manifest
        tensors = {**(there.tensors if there else {}), **entries}
        sums = {**(there.checksums if there else {}), **self._checksums()}
        scalings = self.teacher.capture.scalings
        self.shelf.write(Manifest(parts=dict(self.shelf.parts), scalings=scalings, tensors=tensors, checksums=sums))
        atomic_writes.forget(self.shelf.folder / "progress.json")


def _rows(name: str, tensors: ModelOutputs, batch: Batch, qa: bool) -> Tensor:
    """The tensor at the batch's real tokens, [tokens, ...], or of its examples, [B, ...]."""
    found: Tensor
    if "[" in name:
        kind, layer = name.rstrip("]").split("[")
        found = getattr(tensors, kind)[int(layer)]
    else:
        kind, found = name, getattr(tensors, name)
    if not by_token(name, qa):
        return found
    return (found.transpose(1, 2) if kind in BY_HEAD or kind == "logits" else found)[batch.mask]


def _sync(files: Mapping[str, IO[bytes]]) -> None:
    for file in files.values():
        file.flush()
        os.fsync(file.fileno())
