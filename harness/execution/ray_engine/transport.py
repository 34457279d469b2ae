"""Carries files between machines: reads them into arrays that Ray can share, and writes them atomically.

A file has a name that is the same on all machines: ``store/runs/<key>/record.json`` or ``cache/teachers/<key>/...``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from harness.storage import atomic_writes, checksums

Content = np.ndarray[Any, np.dtype[np.uint8]]
"""The bytes of a file."""

Files = Mapping[str, Content]
"""Name of a file -> its bytes."""

LAST = {checksums.NAME: 1, "record.json": 2}
"""Files of a result that are written after the others: a kill leaves data without a record, never the reverse."""


@dataclass(frozen=True)
class Roots:
    """The folders of a machine in which named files are: a results folder, and the cache."""

    store: Path
    cache: Path

    def path(self, name: str) -> Path:
        """The path of a file or folder on this machine."""
        root, _, place = name.partition("/")
        return {"store": self.store, "cache": self.cache}[root] / place

    def name(self, path: Path) -> str:
        """The name of a path on this machine."""
        root, folder = ("store", self.store) if path.is_relative_to(self.store) else ("cache", self.cache)
        return f"{root}/{path.relative_to(folder).as_posix()}"


def read(names: Iterable[str], roots: Roots) -> dict[str, Content]:
    """Read files, and all files below folders. Missing files are skipped, also those that are removed meanwhile."""
    found = (file for name in names for file in files_at(roots.path(name)))
    return {roots.name(file): content for file in found if (content := _content(file)) is not None}


def write(files: Files, roots: Roots) -> None:
    """Write files atomically: folders of the cache and exported models as a whole, records after their data."""
    units: dict[str, dict[str, Content]] = {}
    for name, content in files.items():
        units.setdefault(_unit(name), {})[name] = content
    for unit in sorted(units, key=lambda unit: LAST.get(Path(unit).name, 0)):
        target = roots.path(unit)
        if target.name == "predictions.parquet":
            target.with_name(checksums.NAME).unlink(missing_ok=True)  # it is of the old predictions
        if list(units[unit]) == [unit]:
            atomic_writes.write_bytes(target, units[unit][unit].tobytes())
        else:
            contents = {name.removeprefix(f"{unit}/"): content for name, content in units[unit].items()}
            write_folder(target, contents)


def write_folder(target: Path, contents: Files, *, sealed: bool = False) -> None:
    """Write a folder atomically. `contents`: path in the folder -> bytes. `sealed`: add checksums if there are none."""

    def fill(folder: Path) -> None:
        for place, content in contents.items():
            file = folder / place
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.data)
        if sealed and checksums.NAME not in contents:
            checksums.seal(folder)

    atomic_writes.write(target, fill)


def read_folder(path: Path) -> dict[str, Content]:
    """Read the files below a folder for `write_folder`, or a file and its name."""
    base = path.parent if path.is_file() else path
    return {file.relative_to(base).as_posix(): np.fromfile(file, dtype=np.uint8) for file in files_at(path)}


def digest(path: Path) -> str | None:
    """A checksum of the contents and relative names of a file or folder; None if there is nothing at `path`."""
    total = xxhash.xxh3_128()
    found = files_at(path)
    for file in found:
        total.update(f"{file.relative_to(path).as_posix()}\n{checksums.of_file(file)}\n".encode())
    return total.hexdigest() if found else None


def files_at(path: Path) -> list[Path]:
    """The files at or below a path, sorted, without bytecode and temporary files of writers.

    A folder that is removed meanwhile counts as empty.
    """
    if path.is_file():
        return [path]
    found = (Path(folder, name) for folder, _, names in os.walk(path, onerror=_raise_unless_gone) for name in names)
    kept = (file for file in found if "__pycache__" not in file.parts and file.suffix != atomic_writes.SUFFIX)
    return sorted(file for file in kept if file.is_file())


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _content(file: Path) -> Content | None:
    try:
        return np.fromfile(file, dtype=np.uint8)
    except FileNotFoundError:
        return None


def _unit(name: str) -> str:
    """The file or folder that is replaced as a whole when a file is written."""
    parts = name.split("/")
    return "/".join(parts[: 3 if parts[0] == "cache" else 4])
