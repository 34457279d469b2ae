"""Writes that a kill at any moment leaves either wholly done or not done at all, also where several processes write.

What is being written lies beside its target, under its name with a part that no other write has and ``.partial`` at the
end. A write that fails takes it away; a kill can leave it behind. Nothing reads such a leftover, and the next write of
the same target removes it, unless a process may still be at it.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

ENDING = ".partial"

DAY = 24 * 3600
"""Seconds; a write in which nothing has changed for so long is nobody's any more."""


def write(target: Path, fill: Callable[[Path], object]) -> None:
    """Put a file or a folder in place: ``fill(path)`` makes it, and once it is safe on disk it becomes `target`.

    A file replaces the old one in one step. A folder cannot: an old one is moved away first, so a folder is to be
    written before the file that makes it count. Of several that write at once, the last to end is what stays.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    partial = _partial(target)
    try:
        fill(partial)
        _sync(partial)
        _put(partial, target)
    except BaseException:
        with suppress(OSError):  # what went wrong is told, not what that left
            remove(partial)
        raise
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
    _sweep(target)


def _put(partial: Path, target: Path) -> None:
    """Rename, with a folder that is in the way moved aside: by its removal in place, others would see half of it."""
    while True:
        try:
            partial.replace(target)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        aside = _partial(target)
        with suppress(FileNotFoundError):  # another process may have moved it away, and put its own there meanwhile
            target.replace(aside)
            remove(aside)


def _partial(target: Path) -> Path:
    return target.with_name(f"{target.name}.{_here()}-{os.getpid()}-{secrets.token_hex(4)}{ENDING}")


@cache
def _here() -> str:
    """Names where a process number means one process: the machine, and in it the container."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # a system without such
        namespace = ""
    return hashlib.sha256(f"{platform.node()} {namespace}".encode()).hexdigest()[:8]


def _sweep(target: Path) -> None:
    """Remove what killed processes left of writes of the target."""
    for path in target.parent.glob(f"{glob.escape(target.name)}.*partial"):
        with suppress(OSError):  # another process may be sweeping, too
            if _is_left(path):
                remove(path)


def _is_left(partial: Path) -> bool:
    """Whether nobody is at it: its process is gone, or, where that cannot be told, it has not changed for a day."""
    made = re.search(rf"\.{_here()}-(\d+)-[0-9a-f]+{re.escape(ENDING)}$", partial.name)
    if made and not _runs(int(made[1])):
        return True
    return time.time() - max(path.lstat().st_mtime for path in (partial, *partial.rglob("*"))) > DAY


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)  # asks, and sends nothing
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


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
