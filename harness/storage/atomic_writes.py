"""Atomic writes of files and folders, safe against kills and against several processes writing the same target.

Data is written to a temporary path next to the target, with a unique name that ends in ``.partial``, and then renamed.
A failed write removes the temporary path; a killed process can leave it behind. The next write of the same target
removes such leftovers, unless their process may still be running.

Files get the permissions that the umask allows, also those whose writer makes them readable by the owner alone
(safetensors, `tempfile`): results folders are shared, and exported models are served by other users.
"""

from __future__ import annotations

import errno
import glob
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from harness.storage import process_identity
from harness.storage.disk_errors import explained

SUFFIX = ".partial"

MAX_AGE = 24 * 3600
"""Seconds without a change after which a temporary path of an unknown process is removed."""

_WRITER = re.compile(rf"(\.[0-9a-f]{{8}}-\d+-[0-9a-f]{{8}})?{re.escape(SUFFIX)}")
"""What follows the target's name in a temporary path; older versions append the suffix only."""


def write(target: Path, fill: Callable[[Path], object]) -> None:
    """Write a file or a folder: ``fill(path)`` creates it at a temporary path, which is synced and renamed to `target`.

    An existing file is replaced atomically. An existing folder is moved away first, so there is a moment without it:
    write a folder before the file that refers to it. Of several concurrent writes, the last to finish wins.

    Raises:
        DiskError: the disk is full or failing, or refuses access. An existing target is then unchanged.
    """
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        partial = partial_path(target)
        try:
            with explained(target):  # reports the free space before the clean-up
                fill(partial)
                _apply_umask(partial, partial_path(target))
                _sync(partial)
                _replace(partial, target)
        except BaseException:
            with suppress(OSError):  # report the original error, not that of the clean-up
                _remove(partial)
            raise
        _sync_one(target.parent)


def write_text(target: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_bytes(target, text.encode())


def write_bytes(target: Path, content: bytes) -> None:
    """Write a binary file atomically."""
    write(target, lambda path: path.write_bytes(content))


def remove(path: Path) -> None:
    """Remove a file, or a folder with its contents, if it exists. Raises `DiskError` as `write` does."""
    with explained(path):
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def forget(target: Path) -> None:
    """Remove `target` and the leftovers of killed writes of it."""
    remove(target)
    _sweep(target)


def _replace(partial: Path, target: Path) -> None:
    """Rename `partial` to `target`. An existing folder is moved aside first, so that no one sees it half removed."""
    while True:
        try:
            partial.replace(target)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        aside = partial_path(target)
        with suppress(FileNotFoundError):  # another process may have replaced it meanwhile
            target.replace(aside)
            _remove(aside)


def partial_path(target: Path) -> Path:
    """Return a new temporary path next to `target`. The next write of `target` removes it if this process has died."""
    return target.with_name(f"{target.name}.{process_identity.machine()}-{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}")


def _sweep(target: Path) -> None:
    """Remove the leftovers of killed writes of the target."""
    for path in target.parent.glob(f"{glob.escape(target.name)}.*partial"):
        with suppress(OSError):  # another process may remove it, too
            if _WRITER.fullmatch(path.name.removeprefix(target.name)) and is_leftover(path):
                _remove(path)


def is_leftover(partial: Path) -> bool:
    """Whether the process that wrote it has ended, or, if that is unknown, it has not changed for `MAX_AGE`."""
    match = re.search(rf"\.{process_identity.machine()}-(\d+)-[0-9a-f]+{re.escape(SUFFIX)}$", partial.name)
    if match and not process_identity.is_running(int(match[1])):
        return True
    return time.time() - max(path.lstat().st_mtime for path in (partial, *partial.rglob("*"))) > MAX_AGE


def _apply_umask(path: Path, probe: Path) -> None:
    """Give private files and folders at `path` the permissions of new ones, those of the file `probe`."""
    private = [
        entry for entry in (path, *path.rglob("*")) if not entry.is_symlink() and not entry.stat().st_mode & 0o77
    ]
    if not private:
        return
    probe.touch(exist_ok=False)  # the umask itself can only be read by changing it, for all threads
    allowed = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    for entry in private:
        search = (allowed & 0o44) >> 2 if entry.is_dir() else 0
        entry.chmod(stat.S_IMODE(entry.stat().st_mode) | allowed | search)


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
