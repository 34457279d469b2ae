"""Stores teacher outputs by example, and reads them from memory-mapped files instead of running the teacher.

A store is a folder of the cache for one teacher and one tokenized training set. It has one ragged file per output:
outputs per token are stored for real tokens only, row after row. Attention scores, [N, N], are not stored but computed
from queries and keys. A file is valid once the manifest lists it.
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
from torch import Tensor

from harness.api.batch import Batch, TaskKind
from harness.api.device_transfer import to_device
from harness.api.model_outputs import LAYERED, Layered, ModelOutputs
from harness.config.training_schema import TrainingSpec
from harness.models.output_names import Need, parse
from harness.storage import checksums
from harness.storage.disk_errors import explained
from harness.storage.frozen_model import FrozenModel
from harness.storage.hashing import key
from harness.tasks.batching import eval_batches
from harness.tasks.tokenization import TokenizedExamples
from harness.training import TEACHER_OUTPUTS_VERSION
from harness.training.batch_stream import TokenizedTask

BATCH_SIZE = 32
"""Batch size of the canonical pass. A change of it, or of the padding, needs a new `TEACHER_OUTPUTS_VERSION`."""

BY_HEAD = ("queries", "keys", "values")

MANIFEST = "manifest.json"
"""File of a store's folder that lists the outputs with their checksums."""


def count_batches(examples: int) -> int:
    """The number of batches of the canonical pass over so many examples."""
    return math.ceil(examples / BATCH_SIZE)


class StoredTensor(FrozenModel):
    """Format of one stored output.

    Attributes:
        shape: of one entry, which belongs to a token or an example (`by_token`).
        kept: dtype in the file.
        given: dtype of the forward pass, which reading restores.
    """

    shape: tuple[int, ...]
    kept: str
    given: str

    @property
    def elements(self) -> int:
        """Number of elements of one entry."""
        return math.prod(self.shape)


class OutputManifest(FrozenModel):
    """The contents of a store. `scalings` are of the scores of each layer, `checksums` of each output's file."""

    parts: dict[str, Any]
    scalings: tuple[float, ...]
    tensors: dict[str, StoredTensor]
    checksums: dict[str, str]


class Layout:
    """The batches of the canonical pass, and the positions of the rows in the files, which follow their order.

    Attributes:
        batches: row numbers of each batch.
        positions: of each row, its index in files with one entry per example.
        starts: of each row, the index of its first token in files with one entry per token.
    """

    def __init__(self, lengths: np.ndarray) -> None:
        self.lengths = lengths
        self.batches = eval_batches(lengths, BATCH_SIZE)
        order = np.concatenate([np.empty(0, np.int64), *map(np.asarray, self.batches)]).astype(np.int64)
        self.positions = np.empty_like(order)
        self.positions[order] = np.arange(len(order))
        self.starts = np.empty_like(order)
        self.starts[order] = np.cumsum(lengths[order]) - lengths[order]

    def entries(self, name: str, kind: TaskKind) -> int:
        """Number of entries in the file of the output `name`."""
        return int(self.lengths.sum()) if by_token(name, kind) else len(self.lengths)


def by_token(name: str, kind: TaskKind) -> bool:
    """Whether the output has one entry per token, instead of one per example, on a task of this kind."""
    return name != "pooled" and (name != "logits" or kind in ("token_classification", "qa"))


def tokens_last(name: str, kind: TaskKind) -> bool:
    """Whether the tokens of the output `name` are on axis 2, instead of axis 1."""
    return name.split("[")[0] in BY_HEAD or (name == "logits" and kind == "qa")


def stored_for(needs: Iterable[str]) -> frozenset[str]:
    """The outputs to store for those in `needs`: for scores, queries and keys."""
    names: set[str] = set()
    for need in filter(None, map(parse, needs)):
        names |= {f"queries[{need.layer}]", f"keys[{need.layer}]"} if need.name == "scores" else {str(need)}
    return frozenset(names)


@dataclass(frozen=True)
class TeacherOutputStore:
    """One teacher's cached outputs on the training rows of `data`, in `folder`. `parts` are hashed to its name."""

    folder: Path
    data: TokenizedTask
    parts: Mapping[str, Any]

    @staticmethod
    def of(root: Path, teacher: str, data: TokenizedTask, numeric: Mapping[str, Any]) -> TeacherOutputStore:
        """The store in the folder `root`/KEY. The key hashes everything that the bits of the outputs depend on.

        That is the id of the teacher's weights, the token ids, the numeric settings, library versions and the type of
        processor.
        """
        import transformers

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
        """Where the rows are in the files."""
        return Layout(self.data.train.lengths)

    @property
    def kind(self) -> TaskKind:
        """The kind of the task, which decides the form of logits."""
        return self.data.train.kind

    def file(self, name: str) -> Path:
        """The file of the output `name`."""
        return _file(self.folder, name)

    @property
    def manifest(self) -> OutputManifest | None:
        """The manifest; None if there is none, or if it is damaged."""
        try:
            return self._read_manifest()
        except (FileNotFoundError, checksums.CorruptFileError):
            return None

    def _read_manifest(self) -> OutputManifest:
        path = self.folder / MANIFEST
        manifest = checksums.read_json(path, OutputManifest)
        if manifest.parts != dict(self.parts):
            raise checksums.CorruptFileError(f"{path} describes other teacher outputs")
        return manifest

    def write(self, manifest: OutputManifest) -> None:
        """Write the manifest; the outputs that it lists are valid from now on."""
        checksums.write_json(self.folder / MANIFEST, manifest)

    def missing(self, names: Collection[str]) -> frozenset[str]:
        """Those of `names` that are not stored, or damaged."""
        manifest = self.manifest
        return frozenset(
            name
            for name in names
            if manifest is None or name not in manifest.tensors or self._damage_of(name, manifest) is not None
        )

    def damage(self, names: Collection[str]) -> str | None:
        """A message about damage to the manifest or to stored outputs of `names`; None if nothing is damaged."""
        try:
            manifest = self._read_manifest()
        except FileNotFoundError:
            return None
        except checksums.CorruptFileError as damage:
            return str(damage)
        messages = (self._damage_of(name, manifest) for name in sorted(names) if name in manifest.tensors)
        return next(filter(None, messages), None)

    def _damage_of(self, name: str, manifest: OutputManifest) -> str | None:
        file, expected = self.file(name), self.bytes(name, manifest.tensors[name])
        try:
            with explained(file, can_be_missing=True):
                size = file.stat().st_size
                matches = size == expected and checksums.of_file(file) == manifest.checksums.get(name)
        except FileNotFoundError:
            return f"{file} is missing"
        if size != expected:
            return f"{file} has {size} bytes, expected {expected}"
        return None if matches else f"{file} does not match its checksum"

    def bytes(self, name: str, entry: StoredTensor) -> int:
        """Size of the output's file."""
        return self.layout.entries(name, self.kind) * entry.elements * dtype(entry.kept).itemsize


class CachedTeacher:
    """Replaces a `Teacher` in a cohort: reads the outputs `names` from a store and runs no model.

    Files are memory-mapped. They stay readable for the lifetime of this object even if the cache is deleted.

    Raises:
        ValueError: the store lacks one of `names`.
    """

    passes = 0
    """Forward passes per batch."""

    def __init__(self, name: str, store: TeacherOutputStore, names: Collection[str]) -> None:
        if missing := store.missing(names):
            raise ValueError(f"{store.folder} does not hold {', '.join(sorted(missing))}")
        self.name = name
        self.tokenizer_id = store.data.tokenizer_id
        self._store = store
        self._manifest = store.manifest or OutputManifest(parts={}, scalings=(), tensors={}, checksums={})
        self._files = {name: _memory_mapped(store, name, self._manifest.tensors[name]) for name in names}

    def forward(self, batch: Batch, needs: frozenset[str], training: TrainingSpec) -> ModelOutputs:
        """The outputs named in `needs`, like `Teacher.forward`, but with zeros in padding."""
        parsed = [need for need in map(parse, needs) if need is not None]
        rows = np.array(batch.rows)
        stored = {name: self._read(name, rows, batch) for name in stored_for(needs)}
        tensors = {need: self._scores(need, stored) if need.name == "scores" else stored[str(need)] for need in parsed}
        logits, pooled, embeddings = (tensors.get(Need(name)) for name in ("logits", "pooled", "embeddings"))
        layered: dict[str, dict[int, Tensor]] = {name: {} for name in LAYERED}
        for need, tensor in tensors.items():
            if need.layer is not None:
                layered[need.name][need.layer] = tensor
        return ModelOutputs(
            logits, pooled, embeddings, *(Layered(name, by_layer) for name, by_layer in layered.items())
        )

    def _read(self, name: str, rows: np.ndarray, batch: Batch) -> Tensor:
        """A stored output of `rows`, in the shape and dtype that a forward pass gives."""
        layout, device = self._store.layout, batch.labels.device
        given = dtype(self._manifest.tensors[name].given)
        if not by_token(name, self._store.kind):
            return to_device(self._files[name].index_select(0, torch.from_numpy(layout.positions[rows])), device).to(
                given
            )
        token = np.arange(batch.inputs["input_ids"].shape[1])
        real = token < layout.lengths[rows, None]
        index = torch.from_numpy(layout.starts[rows, None] + np.where(real, token, 0))
        block = self._files[name].index_select(0, index.flatten())
        block.flatten(1).masked_fill_(torch.from_numpy(~real).reshape(-1, 1), 0)
        tensor = to_device(block.view(*index.shape, *block.shape[1:]), device).to(given)
        if tokens_last(name, self._store.kind):
            tensor = tensor.transpose(1, 2)
        if name == "logits" and self._store.kind == "qa":
            answers = batch.mask if batch.answer_mask is None else batch.answer_mask
            return tensor.masked_fill(~answers[:, None], torch.finfo(given).min)
        return tensor

    def _scores(self, need: Need, stored: Mapping[str, Tensor]) -> Tensor:
        """Attention scores before mask and softmax, [B, A, N, N], from queries and keys."""
        assert need.layer is not None
        queries, keys = stored[f"queries[{need.layer}]"], stored[f"keys[{need.layer}]"]
        return torch.matmul(queries, keys.transpose(-1, -2)) * self._manifest.scalings[need.layer - 1]


def verify(folder: Path) -> None:
    """Raise `CorruptFileError` if the manifest in `folder`, or an output that it lists, is damaged or missing."""
    manifest = checksums.read_json(folder / MANIFEST, OutputManifest)
    for name in manifest.tensors:
        file = _file(folder, name)
        try:
            with explained(file, can_be_missing=True):
                matches = checksums.of_file(file) == manifest.checksums.get(name)
        except FileNotFoundError:
            raise checksums.CorruptFileError(f"{file} is missing") from None
        if not matches:
            raise checksums.CorruptFileError(f"{file} does not match its checksum")


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name.replace('[', '.').rstrip(']')}.bin"


def kept_dtype(given: str, precision: str) -> str:
    """The dtype in files of an output of dtype `given`, if models run in that `training.precision`."""
    return "bfloat16" if precision == "bf16" else given


def size_in_bytes(entries: float, width: int, precision: str) -> float:
    """Upper bound of the bytes of an output's file: of `entries` entries with `width` elements, at most float32."""
    return entries * width * dtype(kept_dtype("float32", precision)).itemsize


def dtype(name: str) -> torch.dtype:
    """The torch dtype called `name`, such as ``float32`` or ``bfloat16``."""
    value = getattr(torch, name)
    assert isinstance(value, torch.dtype)
    return value


def _memory_mapped(store: TeacherOutputStore, name: str, entry: StoredTensor) -> Tensor:
    entries = store.layout.entries(name, store.kind)
    flat = torch.from_file(str(store.file(name)), shared=False, size=entries * entry.elements, dtype=dtype(entry.kept))
    return flat.view(entries, *entry.shape)


def _digest(encoded: TokenizedExamples, pad_token_id: int) -> str:
    """16 hex digits over the model inputs of all rows."""
    digest = hashlib.sha256(f"{encoded.kind} {pad_token_id}".encode())
    for column in (encoded.input_ids, encoded.token_type_ids, encoded.answer_mask):
        for array in (column.values, column.starts) if column is not None else ():
            digest.update(f"{array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def _processor(device: str) -> str:
    """The type of processor, by which libraries choose their kernels."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
