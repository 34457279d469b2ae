"""The cache of tokenized data sets: each is tokenized once and memory-mapped by later runs of any suite."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import ValidationError

from harness.api.batch import TaskKind
from harness.api.errors import UserError
from harness.storage import atomic_writes, cache_dir, checksums
from harness.storage.disk_errors import explained
from harness.storage.frozen_model import FrozenModel
from harness.storage.hashing import key
from harness.tasks.tokenization import STARTS, TokenizedExamples

log = logging.getLogger("harness")

ENCODING_VERSION = 1
"""Version of the tokenization. Increment it when the tokenization changes, to invalidate the cache."""


class StoredColumn(FrozenModel):
    """Dtype and shape of one array."""

    dtype: str
    shape: tuple[int, ...]


class TokenizedManifest(FrozenModel):
    """Contents of a cached folder: the parts of its cache key, the kind of task, and the arrays."""

    parts: dict[str, Any]
    kind: TaskKind
    columns: dict[str, StoredColumn]


def cache_key_parts(
    data: str, tokenizer_fingerprint: str, tokenizer: Any, max_length: int | None, **options: Any
) -> dict[str, Any]:
    """Return everything that determines the tokenized rows, as the parts of their cache key.

    `data` is the fingerprint of the examples; `options` are further parts, such as the kind of task.
    """
    import tokenizers
    import transformers

    return {
        "data": data,
        "tokenizer": tokenizer_fingerprint,
        "cut": [max_length, tokenizer.truncation_side],
        "with": {"tokenizers": tokenizers.__version__, "transformers": transformers.__version__},
        "version": ENCODING_VERSION,
        **options,
    }


def load_or_build(parts: Mapping[str, Any], build: Callable[[], Iterable[TokenizedExamples]]) -> TokenizedExamples:
    """Return the cached rows with the cache key of `parts`, memory-mapped. If there are none, build and cache them.

    `build` returns the rows in chunks, so that they are never in memory together. If it fails, nothing is cached.

    Raises:
        DiskError: the disk is full or failing.

    It raises any error of `build`, too.
    """
    folder = cache_dir.root() / "encoded" / key(parts)
    examples = _open(folder)
    if examples is not None:
        return examples
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):  # another process may build the same rows
        if (examples := _open(folder, report=True)) is not None:
            return examples
        atomic_writes.write(folder, lambda path: _write(path, parts, build()))
    if (examples := _open(folder)) is None:
        raise UserError(f"{folder} cannot be read right after it was written: does another process delete it?")
    return examples


def _write(folder: Path, parts: Mapping[str, Any], chunks: Iterable[TokenizedExamples]) -> None:
    folder.mkdir()
    with ExitStack() as stack:
        writers: dict[str, _Writer] = {}
        for chunk in chunks:
            kind = chunk.kind
            for name, array in chunk.arrays().items():
                if name not in writers:
                    file = stack.enter_context(_file(folder, name).open("wb"))
                    writers[name] = _Writer(file, starts=name.endswith(STARTS))
                writers[name].append(array)
    columns = {name: StoredColumn(dtype=writer.dtype, shape=writer.shape) for name, writer in writers.items()}
    manifest = TokenizedManifest(parts=dict(parts), kind=kind, columns=columns)
    (folder / "manifest.json").write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    checksums.seal(folder)


class _Writer:
    """Appends arrays to a file. Starts of ragged arrays (`starts`) are shifted by the number of values before."""

    def __init__(self, file: IO[bytes], *, starts: bool) -> None:
        self.file = file
        self.starts = starts
        self.end = 0
        self.dtype = ""
        self.shape: tuple[int, ...] = ()

    def append(self, array: NDArray[Any]) -> None:
        if self.starts:
            array, self.end = array[bool(self.shape) :] + self.end, self.end + int(array[-1])
        self.file.write(np.ascontiguousarray(array).data)
        rows = self.shape[0] if self.shape else 0
        self.dtype, self.shape = str(array.dtype), (rows + len(array), *array.shape[1:])


def _open(folder: Path, *, report: bool = False) -> TokenizedExamples | None:
    """Open a cached folder; None if it does not exist or is corrupt. With `report`, a corrupt folder is logged."""
    if not folder.exists():
        return None
    try:
        checksums.verify(folder)
        with explained(folder):
            return _read(folder)
    except (ValueError, ValidationError, checksums.CorruptFileError) as error:
        if report:
            log.warning("the tokenized data in %s are corrupt and are tokenized again: %s", folder, error)
        return None


def _read(folder: Path) -> TokenizedExamples:
    manifest = TokenizedManifest.model_validate_json((folder / "manifest.json").read_text(encoding="utf-8"))
    arrays = {name: _memmap(_file(folder, name), column) for name, column in manifest.columns.items()}
    return TokenizedExamples.of_arrays(manifest.kind, arrays)


def _memmap(file: Path, column: StoredColumn) -> NDArray[Any]:
    dtype = np.dtype(column.dtype)
    expected = dtype.itemsize * int(np.prod(column.shape))
    if file.stat().st_size != expected:
        raise ValueError(f"{file} has {file.stat().st_size} bytes, expected {expected}")
    if not expected:  # an empty file cannot be mapped
        return np.zeros(column.shape, dtype)
    return np.memmap(file, dtype, mode="r", shape=column.shape)


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.bin"
