"""Checksums (XXH3, 64 bits) of stored files, to detect corruption.

`seal` writes a file with the checksums of a folder's files, which `add` and `discard` change; `write_json` stores a
JSON document with its checksum; `append` appends the checksum of a file to it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import xxhash
from pydantic import BaseModel, ValidationError

from harness.storage import atomic_writes
from harness.storage.disk_errors import explained
from harness.storage.file_states import SETTLED, settled_state

NAME = "checksums.json"
"""Name of the file with the checksums of a folder's files."""

CHUNK = 1 << 22
"""Bytes in one read."""

_MARK = b"\nxxh3 "
_TRAILER = len(_MARK) + 17

Model = TypeVar("Model", bound=BaseModel)

_computed: dict[tuple[int, ...], str] = {}
"""Checksums that this process has computed, by device and state of the file."""


class CorruptFileError(Exception):
    """A file is changed, truncated or missing, or was written by a version without checksums."""


class _Entry(BaseModel, extra="forbid", strict=True):
    size: int
    xxh3: str


class _Checksums(BaseModel, extra="forbid", strict=True):
    version: int = 1
    files: dict[str, _Entry]


def of_file(path: Path) -> str:
    """Return the checksum of a file as 16 hex digits. A process computes it once, unless the file changes."""
    with path.open("rb") as file:
        stat = os.fstat(file.fileno())
        known = settled_state(stat, before=time.time() - SETTLED)
        if known is None:
            return _digest(path, stat.st_size).hexdigest()
        key = (stat.st_dev, *known)
        if key not in _computed:
            _computed[key] = _digest(path, stat.st_size).hexdigest()
        return _computed[key]


def digest_of_prefix(path: Path, size: int) -> xxhash.xxh3_64:
    """Return the digest of the first `size` bytes, which can be updated with the bytes that follow."""
    return _digest(path, size)


def seal(folder: Path, *files: Path) -> None:
    """Write the checksums of `files`, by default of all files below `folder`, after they are complete."""
    _write(folder, _of(folder, files or (file for file in files_at(folder) if file != folder / NAME)))


def files_at(path: Path) -> list[Path]:
    """List the files below a folder, or the file itself."""
    return [file for file in (path, *path.rglob("*")) if file.is_file()]


def add(folder: Path, *files: Path) -> None:
    """Add or replace the checksums of complete `files` in `folder`. Other files keep theirs."""
    _write(folder, {**_readable(folder), **_of(folder, files)})


def discard(folder: Path, *paths: Path) -> None:
    """Remove the checksums of `paths`, and of the files below them, before these are written again."""
    known = _readable(folder)
    remaining = {
        name: entry for name, entry in known.items() if not any((folder / name).is_relative_to(path) for path in paths)
    }
    if remaining != known:
        _write(folder, remaining)


def verify(folder: Path) -> None:
    """Raise `CorruptFileError` if a file of a folder differs from its checksum, or the folder has no checksums.

    Like all functions that read, it raises `DiskError` if the disk cannot be read: the file itself may be intact.
    """
    for name, entry in _entries(folder).items():
        _compare(folder / name, entry)


def verify_existing(folder: Path) -> None:
    """Raise `CorruptFileError` if a file that exists in a folder differs from its checksum, if it has one."""
    for name, entry in _known(folder).items():
        if (folder / name).exists():
            _compare(folder / name, entry)


def verify_content(file: Path, content: bytes) -> None:
    """Raise `CorruptFileError` if `content`, which was read from `file`, differs from its entry, if it has one."""
    if (entry := _known(file.parent).get(file.name)) and xxhash.xxh3_64_hexdigest(content) != entry.xxh3:
        raise CorruptFileError(f"{file} does not match its checksum")


def missing(folder: Path) -> list[str]:
    """List the files that have checksums but do not exist."""
    return [name for name in _known(folder) if not (folder / name).exists()]


def listed(folder: Path) -> set[str]:
    """The names of the files that have checksums, relative to the folder; empty if it has no checksums."""
    return {*_known(folder)}


def entries(folder: Path) -> dict[str, str]:
    """Name of each file that has a checksum -> this checksum; empty if there are none, or they are damaged."""
    return {name: entry.xxh3 for name, entry in _readable(folder).items()}


def digest(folder: Path) -> str:
    """Digest of the checksums of a folder's files, 16 hex digits: with the same digest, the files are the same."""
    return of_json(entries(folder))


def is_intact(folder: Path) -> bool:
    """Whether `folder` has checksums and all its files match them."""
    try:
        verify(folder)
    except CorruptFileError:
        return False
    return True


def write_json(path: Path, model: BaseModel) -> None:
    """Write `model` with its checksum, atomically."""
    content = json.loads(model.model_dump_json())
    atomic_writes.write_text(path, json.dumps({"xxh3": of_json(content), "content": content}, indent=1) + "\n")


def read_json(path: Path, model: type[Model]) -> Model:
    """Read a document that `write_json` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptFileError: it cannot be read, or does not match its checksum.
    """
    try:
        with explained(path, can_be_missing=True):
            document = json.loads(path.read_text(encoding="utf-8"))
        if of_json(document["content"]) != document["xxh3"]:
            raise CorruptFileError(f"{path} does not match its checksum")
        return model.model_validate_json(json.dumps(document["content"]))
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise CorruptFileError(f"{path} cannot be read, or was written by another version") from error


def append(path: Path) -> None:
    """Append the checksum of a file to it."""
    digest = _digest(path, path.stat().st_size).hexdigest()
    with path.open("ab") as file:
        file.write(_MARK + digest.encode() + b"\n")


def verify_appended(path: Path) -> None:
    """Raise `CorruptFileError` if a file does not match the checksum that `append` added."""
    with explained(path):
        size = path.stat().st_size - _TRAILER
        with path.open("rb") as file:
            file.seek(max(size, 0))
            trailer = file.read()
        matches = size >= 0 and trailer == _MARK + _digest(path, size).hexdigest().encode() + b"\n"
    if not matches:
        raise CorruptFileError(f"{path} does not match its checksum")


def _of(folder: Path, files: Iterable[Path]) -> dict[str, _Entry]:
    return {file.relative_to(folder).as_posix(): _Entry(size=file.stat().st_size, xxh3=of_file(file)) for file in files}


def _write(folder: Path, entries: Mapping[str, _Entry]) -> None:
    content = _Checksums(files=dict(sorted(entries.items())))
    atomic_writes.write_text(folder / NAME, content.model_dump_json(indent=1) + "\n")


def _known(folder: Path) -> dict[str, _Entry]:
    """The checksums of a folder; empty if it has none."""
    return _entries(folder) if (folder / NAME).exists() else {}


def _readable(folder: Path) -> dict[str, _Entry]:
    """Like `_known`, but also empty if the checksums are damaged: the caller replaces them."""
    try:
        return _known(folder)
    except CorruptFileError:
        return {}


def _entries(folder: Path) -> dict[str, _Entry]:
    try:
        with explained(folder / NAME, can_be_missing=True):
            return _Checksums.model_validate_json((folder / NAME).read_bytes()).files
    except FileNotFoundError:
        raise CorruptFileError(f"{folder} has no {NAME}: it is incomplete, or an older version wrote it") from None
    except ValidationError as error:
        raise CorruptFileError(f"{folder / NAME} cannot be read") from error


def _compare(file: Path, entry: _Entry) -> None:
    try:
        with explained(file, can_be_missing=True):
            size = file.stat().st_size
            matches = size == entry.size and of_file(file) == entry.xxh3
    except FileNotFoundError:
        raise CorruptFileError(f"{file} is missing") from None
    if size != entry.size:
        raise CorruptFileError(f"{file} has {size} bytes, expected {entry.size}")
    if not matches:
        raise CorruptFileError(f"{file} does not match its checksum")


def _digest(path: Path, size: int) -> xxhash.xxh3_64:
    digest = xxhash.xxh3_64()
    with path.open("rb", buffering=0) as file:
        while size > 0 and (chunk := file.read(min(CHUNK, size))):
            digest.update(chunk)
            size -= len(chunk)
    return digest


def of_json(content: object) -> str:
    """Return the checksum of a JSON document as 16 hex digits."""
    return xxhash.xxh3_64_hexdigest(json.dumps(content, sort_keys=True).encode())
