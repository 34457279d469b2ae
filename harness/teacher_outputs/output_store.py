"""Teacher tensors kept by example: read from memory-mapped files in place of a forward pass.

A shelf is a folder of the cache for one teacher and one reading of a training set. It holds a file for each tensor,
ragged: what stands at tokens is kept for the real ones, row after row. N x N maps are never kept; scores are computed
anew from queries and keys. A file counts once the manifest names it.
"""

from __future__ import annotations

import hashlib
import math
import platform
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor

from harness.api.batch import Batch
from harness.api.model_outputs import LAYERED, Layered, ModelOutputs
from harness.config.schema import TrainingSpec
from harness.models.output_names import Need, parse
from harness.storage import checksums
from harness.storage.frozen_model import FrozenModel
from harness.storage.hashing import key
from harness.tasks.batching import eval_batches
from harness.tasks.tokenization import TokenizedExamples
from harness.training import TEACHER_OUTPUTS_VERSION
from harness.training.batch_stream import TokenizedTask
from harness.training.device_transfer import sent

BATCH_SIZE = 32
"""Of the canonical pass. Part of what `TEACHER_OUTPUTS_VERSION` stands for, like the padding of its batches."""

BY_HEAD = ("queries", "keys", "values")


class Entry(FrozenModel):
    """One kept tensor: the shape of what stands at a token, or of an example's; what it is kept in, and what the
    forward pass gave."""

    shape: tuple[int, ...]
    kept: str
    given: str

    @property
    def numbers(self) -> int:
        return math.prod(self.shape)


class Manifest(FrozenModel):
    """What a shelf holds. `scalings` are those of the scores of each layer, `checksums` those of the tensors' files."""

    parts: dict[str, Any]
    scalings: tuple[float, ...]
    tensors: dict[str, Entry]
    checksums: dict[str, str]


class Layout:
    """The canonical batches of a training set, and where in the files its rows lie: in the order of those batches."""

    def __init__(self, lengths: np.ndarray) -> None:
        self.lengths = lengths
        self.batches = eval_batches(lengths, BATCH_SIZE)
        order = np.concatenate([np.empty(0, np.int64), *map(np.asarray, self.batches)]).astype(np.int64)
        self.places = np.empty_like(order)
        self.places[order] = np.arange(len(order))
        self.starts = np.empty_like(order)
        self.starts[order] = np.cumsum(lengths[order]) - lengths[order]

    def entries(self, name: str, qa: bool) -> int:
        """How many the file of that tensor has: one for each token, or for each example."""
        return int(self.lengths.sum()) if by_token(name, qa) else len(self.lengths)


def by_token(name: str, qa: bool) -> bool:
    """Whether the tensor stands at tokens; else at examples."""
    return name != "pooled" and (qa or name != "logits")


def kept_for(needs: Iterable[str]) -> frozenset[str]:
    """The tensors to keep for those that are asked for: scores are made of queries and keys."""
    kept: set[str] = set()
    for need in filter(None, map(parse, needs)):
        kept |= {f"queries[{need.layer}]", f"keys[{need.layer}]"} if need.name == "scores" else {str(need)}
    return frozenset(kept)


@dataclass(frozen=True)
class TeacherOutputStore:
    """One teacher's tensors on the training rows of `data`, in `folder`."""

    folder: Path
    data: TokenizedTask
    parts: Mapping[str, Any]

    @staticmethod
    def of(root: Path, teacher: str, data: TokenizedTask, numeric: Mapping[str, Any]) -> TeacherOutputStore:
        """Within `root`, under a key over all that the last bit depends on, whoever fills it: the teacher's key, what
        it reads, the numeric mode, and the libraries and the kind of processor that compute it."""
        device = str(numeric["device"])
        parts = {
            "teacher": teacher,
            "reads": _digest(data.train, data.pad_token_id),
            "numeric": dict(numeric),
            "with": {"torch": torch.__version__, "transformers": transformers.__version__, "on": _processor(device)},
            "version": TEACHER_OUTPUTS_VERSION,
        }
        return TeacherOutputStore(root / key(parts), data, parts)

    @cached_property
    def layout(self) -> Layout:
        return Layout(self.data.train.lengths)

    @property
    def qa(self) -> bool:
        return self.data.train.kind == "qa"

    def file(self, name: str) -> Path:
        return self.folder / f"{name.replace('[', '.').rstrip(']')}.bin"

    @property
    def manifest(self) -> Manifest | None:
        """None if nothing is kept, or nothing that this version can read."""
        try:
            return self._read_manifest()
        except (FileNotFoundError, checksums.CorruptFileError):
            return None

    def _read_manifest(self) -> Manifest:
        path = self.folder / "manifest.json"
        found = checksums.read_json(path, Manifest)
        if found.parts != dict(self.parts):
            raise checksums.CorruptFileError(f"{path} describes other tensors")
        return found

    def write(self, manifest: Manifest) -> None:
        """From now on what it names counts."""
        checksums.write_json(self.folder / "manifest.json", manifest)

    def missing(self, names: Collection[str]) -> frozenset[str]:
        """Those of `names` that are not kept, or not whole."""
        manifest = self.manifest
        return frozenset(
            name
            for name in names
            if manifest is None or name not in manifest.tensors or self._damage_of(name, manifest) is not None
        )

    def damage(self, names: Collection[str]) -> str | None:
        """What is wrong with those of `names` that were kept; None if they are only not there."""
        try:
            manifest = self._read_manifest()
        except FileNotFoundError:
            return None
        except checksums.CorruptFileError as damage:
            return str(damage)
        found = (self._damage_of(name, manifest) for name in sorted(names) if name in manifest.tensors)
        return next(filter(None, found), None)

    def _damage_of(self, name: str, manifest: Manifest) -> str | None:
        file, expected = self.file(name), self.bytes(name, manifest.tensors[name])
        try:
            if file.stat().st_size != expected:
                return f"{file} has {file.stat().st_size} bytes, and {expected} were written"
            if checksums.of_file(file) != manifest.checksums.get(name):
                return f"{file} does not match its checksum"
        except OSError as error:
            return f"{file} cannot be read: {error.strerror}"
        return None

    def bytes(self, name: str, entry: Entry) -> int:
        """Of the tensor's file."""
        return self.layout.entries(name, self.qa) * entry.numbers * dtype(entry.kept).itemsize


class CachedTeacher:
    """Stands in for a `Teacher` in a cohort, and runs none: it reads what a shelf holds, all of `names`.

    Files are memory-mapped, so that no more of them is in memory than the system sees fit, and stay readable while
    this lives though the cache be deleted.
    """

    passes = 0
    """Forward passes for a batch."""

    def __init__(self, name: str, shelf: TeacherOutputStore, names: Collection[str]) -> None:
        if missing := shelf.missing(names):
            raise ValueError(f"{shelf.folder} does not hold {', '.join(sorted(missing))}")
        self.name = name
        self.reader = shelf.data.reader
        self._shelf = shelf
        self._manifest = shelf.manifest or Manifest(parts={}, scalings=(), tensors={}, checksums={})
        self._files = {name: _mapped(shelf, name, self._manifest.tensors[name]) for name in names}

    def forward(self, batch: Batch, needs: frozenset[str], training: TrainingSpec) -> ModelOutputs:
        """As `Teacher.forward`, but for padding, which holds zeros."""
        wanted = [need for need in map(parse, needs) if need is not None]
        rows = np.array(batch.rows)
        taken = {name: self._take(name, rows, batch) for name in kept_for(needs)}
        tensors = {need: self._scores(need, taken) if need.name == "scores" else taken[str(need)] for need in wanted}
        logits, pooled, embeddings = (tensors.get(Need(name)) for name in ("logits", "pooled", "embeddings"))
        layered: dict[str, dict[int, Tensor]] = {name: {} for name in LAYERED}
        for need, tensor in tensors.items():
            if need.layer is not None:
                layered[need.name][need.layer] = tensor
        return ModelOutputs(logits, pooled, embeddings, *(Layered(name, each) for name, each in layered.items()))

    def _take(self, name: str, rows: np.ndarray, batch: Batch) -> Tensor:
        """Of the rows, in the shape and the dtype that a forward pass gives."""
        layout, device = self._shelf.layout, batch.labels.device
        given = dtype(self._manifest.tensors[name].given)
        if not by_token(name, self._shelf.qa):
            return sent(self._files[name].index_select(0, torch.from_numpy(layout.places[rows])), device).to(given)
        place = np.arange(batch.inputs["input_ids"].shape[1])
        real = place < layout.lengths[rows, None]
        index = torch.from_numpy(layout.starts[rows, None] + np.where(real, place, 0))
        block = self._files[name].index_select(0, index.flatten())
        block.flatten(1).masked_fill_(torch.from_numpy(~real).reshape(-1, 1), 0)
        tensor = sent(block.view(*index.shape, *block.shape[1:]), device).to(given)
        if name == "logits":
            answers = batch.mask if batch.answer_mask is None else batch.answer_mask
            return tensor.transpose(1, 2).masked_fill(~answers[:, None], torch.finfo(given).min)
        return tensor.transpose(1, 2) if name.split("[")[0] in BY_HEAD else tensor

    def _scores(self, need: Need, taken: Mapping[str, Tensor]) -> Tensor:
        assert need.layer is not None
        queries, keys = taken[f"queries[{need.layer}]"], taken[f"keys[{need.layer}]"]
        return torch.matmul(queries, keys.transpose(-1, -2)) * self._manifest.scalings[need.layer - 1]


def dtype(name: str) -> torch.dtype:
    """By its name: float32, bfloat16 ..."""
    found = getattr(torch, name)
    assert isinstance(found, torch.dtype)
    return found


def _mapped(shelf: TeacherOutputStore, name: str, entry: Entry) -> Tensor:
    entries = shelf.layout.entries(name, shelf.qa)
    flat = torch.from_file(str(shelf.file(name)), shared=False, size=entries * entry.numbers, dtype=dtype(entry.kept))
    return flat.view(entries, *entry.shape)


def _digest(encoded: TokenizedExamples, pad_token_id: int) -> str:
    """Over what a teacher reads of the rows."""
    digest = hashlib.sha256(f"{encoded.kind} {pad_token_id}".encode())
    for column in (encoded.input_ids, encoded.token_type_ids, encoded.answer_mask):
        for array in (column.values, column.starts) if column is not None else ():
            digest.update(f"{array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def _processor(device: str) -> str:
    """Kernels are chosen by it."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
