"""Tokenised examples in the cache: made once, then memory-mapped by every run of every suite that reads the same."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
import tokenizers
import transformers
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import ValidationError

from harness.api.batch import TaskKind
from harness.api.errors import UserError
from harness.storage import atomic_writes, cache_dir, checksums
from harness.storage.frozen_model import FrozenModel
from harness.storage.hashing import key
from harness.tasks.tokenization import STARTS, TokenizedExamples

log = logging.getLogger("harness")

ENCODING_VERSION = 1
"""Of how examples become tokens. Raise it when that changes: what is in the cache is made anew then."""


class Column(FrozenModel):
    """One array: its dtype and shape."""

    dtype: str
    shape: tuple[int, ...]


class Manifest(FrozenModel):
    """What a folder holds, and what it is made of."""

    parts: dict[str, Any]
    kind: TaskKind
    columns: dict[str, Column]


def cache_key_parts(data: str, reader: str, tokenizer: Any, max_length: int | None, **more: Any) -> dict[str, Any]:
    """What decides the tokens: the data's fingerprint, the tokenizer's (`reader`), and how examples are cut."""
    return {
        "data": data,
        "tokenizer": reader,
        "cut": [max_length, tokenizer.truncation_side],
        "with": {"tokenizers": tokenizers.__version__, "transformers": transformers.__version__},
        "version": ENCODING_VERSION,
        **more,
    }


def load_or_build(parts: Mapping[str, Any], make: Callable[[], Iterable[TokenizedExamples]]) -> TokenizedExamples:
    """The rows that the cache holds under `parts`; made now, part by part, if it has none.

    Raises:
        UserError: the disk is full, or what `make` raises; nothing is kept then.
    """
    folder = cache_dir.root() / "encoded" / key(parts)
    found = _opened(folder)
    if found is not None:
        return found
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):  # another process may be at the same rows
        if (found := _opened(folder, report=True)) is not None:
            return found
        try:
            atomic_writes.write(folder, lambda path: _write(path, parts, make()))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            message = (
                f"no room is left for tokenised data in {folder.parent}: make some, or set HARNESS_CACHE elsewhere"
            )
            raise UserError(message) from error
    if (found := _opened(folder)) is None:
        raise UserError(f"{folder} was just written and cannot be read: is something else removing it?")
    return found


def _write(folder: Path, parts: Mapping[str, Any], encoded: Iterable[TokenizedExamples]) -> None:
    folder.mkdir()
    with ExitStack() as stack:
        writers: dict[str, _Writer] = {}
        for part in encoded:
            kind = part.kind
            for name, array in part.arrays().items():
                if name not in writers:
                    file = stack.enter_context(_file(folder, name).open("wb"))
                    writers[name] = _Writer(file, ragged=name.endswith(STARTS))
                writers[name].append(array)
    columns = {name: Column(dtype=writer.dtype, shape=writer.shape) for name, writer in writers.items()}
    manifest = Manifest(parts=dict(parts), kind=kind, columns=columns)
    (folder / "manifest.json").write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    checksums.seal(folder)


class _Writer:
    """Appends arrays to a file, which are never in memory together; starts of ragged ones moved behind those before."""

    def __init__(self, file: IO[bytes], *, ragged: bool) -> None:
        self.file = file
        self.ragged = ragged
        self.end = 0
        self.dtype = ""
        self.shape: tuple[int, ...] = ()

    def append(self, array: NDArray[Any]) -> None:
        if self.ragged:
            array, self.end = array[bool(self.shape) :] + self.end, self.end + int(array[-1])
        self.file.write(np.ascontiguousarray(array).data)
        rows = self.shape[0] if self.shape else 0
        self.dtype, self.shape = str(array.dtype), (rows + len(array), *array.shape[1:])


def _opened(folder: Path, *, report: bool = False) -> TokenizedExamples | None:
    """None if there is nothing, or files do not match their checksums: with `report` that is logged."""
    if not folder.exists():
        return None
    try:
        checksums.verify(folder)
        manifest = Manifest.model_validate_json((folder / "manifest.json").read_text(encoding="utf-8"))
        arrays = {name: _mapped(_file(folder, name), column) for name, column in manifest.columns.items()}
    except (OSError, ValueError, ValidationError, checksums.CorruptFileError) as damage:
        if report:
            log.warning("the cached tokenized data in %s are damaged and are made again: %s", folder, damage)
        return None
    return TokenizedExamples.of_arrays(manifest.kind, arrays)


def _mapped(file: Path, column: Column) -> NDArray[Any]:
    dtype = np.dtype(column.dtype)
    expected = dtype.itemsize * int(np.prod(column.shape))
    if file.stat().st_size != expected:
        raise ValueError(f"{file} has another size")
    if not expected:  # nothing to map
        return np.zeros(column.shape, dtype)
    return np.memmap(file, dtype, mode="r", shape=column.shape)


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.bin"
