"""Writes that a kill at any moment leaves either wholly done or not done at all.

What is being written lies beside its target under the target's name with ``.partial`` added. A kill can leave such a
leftover behind; nothing reads it, and the next write of the same target replaces it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path


def write(target: Path, fill: Callable[[Path], object]) -> None:
    """Put a file or a folder in place: ``fill(path)`` makes it, and once it is safe on disk it becomes `target`.

    A file replaces the old one in one step. A folder cannot: an old one is removed first, so a folder is to be written
    before the file that makes it count.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(target)
    remove(partial)
    fill(partial)
    _sync(partial)
    if partial.is_dir():
        remove(target)
    partial.replace(target)
    _sync_one(target.parent)


def write_text(target: Path, text: str) -> None:
    """`write` for a UTF-8 text file."""
    write_bytes(target, text.encode())


def write_bytes(target: Path, content: bytes) -> None:
    """`write` for a file."""
    write(target, lambda path: path.write_bytes(content))


def remove(path: Path) -> None:
    """Remove a file or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def forget(target: Path) -> None:
    """Remove what was written there, and what a kill left of a write."""
    remove(target)
    remove(_partial(target))


def _partial(target: Path) -> Path:
    return target.with_name(f"{target.name}.partial")


def _sync(path: Path) -> None:
    if path.is_dir():
        for child in path.iterdir():
            _sync(child)
    _sync_one(path)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
