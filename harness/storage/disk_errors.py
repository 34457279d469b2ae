"""Errors of the machine's disks: recognizes them, also those that libraries wrap, and explains them to the user.

Code that reads or writes files uses `explained`. An `OSError` that no disk causes, and any other exception, keeps its
type and its traceback: it is a fault of the program.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.api.errors import Problem, UserError
from harness.storage import cache_dir

MIB = 2**20

AGAIN = "then run the same command again: it continues, and finished results are kept"

VANISHED = f"was it deleted, moved or unmounted? Make sure that it is available, {AGAIN}"

_FAILING = (
    "check the disk or the network drive, {again}. If it stays so, `harness doctor DIR --repair` sets aside files that"
    " cannot be read"
)
_OCCUPIED = "remove or rename what is there, {again}"
_FULL = "free some space, or {elsewhere}; {again}"
_REMEDIES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "the file system or `ulimit -f` limits the size of files: raise the limit, or {elsewhere}; {again}",
    errno.EIO: _FAILING,
    errno.ESTALE: _FAILING,
    errno.ENXIO: _FAILING,
    errno.ENODEV: _FAILING,
    errno.ETIMEDOUT: _FAILING,
    errno.EROFS: "mount it for writing, or {elsewhere}; {again}",
    errno.EACCES: "change the permissions, or {elsewhere}; {again}",
    errno.EPERM: "change the permissions, or {elsewhere}; {again}",
    errno.EEXIST: f"a file or a broken link is in the place of a folder: {_OCCUPIED}",
    errno.ENOTDIR: f"a file is in the place of a folder: {_OCCUPIED}",
    errno.EISDIR: f"a folder is in the place of a file: {_OCCUPIED}",
    errno.ENOTEMPTY: _OCCUPIED,
    errno.ELOOP: "a symbolic link refers to itself: remove it, {again}",
    errno.ENAMETOOLONG: "use a shorter name or path",
    errno.ENOENT: VANISHED,
    errno.EBUSY: "another process uses it: wait for its end, {again}",
    errno.ENOLCK: "the file system has no locks left: {elsewhere}; {again}",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`), {again}",
    errno.ENFILE: "raise the system's limit of open files, or end other processes, {again}",
}
"""Error number -> what to do. Numbers that a bug of the program causes, such as EBADF, are not in it."""

_TORCH_WRITER = ("PytorchStreamWriter failed", "unexpected pos", "iostream error")
"""Texts of the `RuntimeError` by which `torch.save` reports that it cannot write. It does not give the reason."""


class DiskError(UserError):
    """A disk is full, failing, or refuses access. Not a fault of a run: it stops the suite, which can be resumed."""


@contextmanager
def explained(path: Path, *, elsewhere: str | None = None, can_be_missing: bool = False) -> Iterator[None]:
    """Convert errors of the disk to `DiskError`, with `path` if the error names no file, or a temporary one.

    Args:
        path: what is read or written.
        elsewhere: how to use another disk; by default what applies to `path`.
        can_be_missing: whether `FileNotFoundError` is passed on to the caller, who expects it.
    """
    try:
        yield
    except Exception as error:
        if can_be_missing and isinstance(error, FileNotFoundError):
            raise
        problem = _problem(error, path, elsewhere)
        if problem is None:
            raise
        raise DiskError(problem) from error


def is_disk_error(error: BaseException) -> bool:
    """Whether a disk causes the error, whether it was converted where it was raised or not."""
    return isinstance(error, DiskError) or (isinstance(error, OSError) and problem_of(error) is not None)


def problem_of(error: Exception) -> Problem | None:
    """Explain an error that was not converted where it was raised; None if no disk causes it.

    A file that does not exist counts only if its folder does not exist, too: it vanished. Else it is probably a bug.
    """
    path = _named_file(error)
    if isinstance(error, FileNotFoundError) and (path is None or path.parent.is_dir()):
        return None
    return _problem(error, path, None)


def _problem(error: Exception, path: Path | None, elsewhere: str | None) -> Problem | None:
    if isinstance(error, UserError):
        return None
    number, source = _number(error, path)
    if number not in _REMEDIES:
        return None
    named = _named_file(source)
    where = named if named is not None and (path is None or ".partial" not in str(named)) else path
    description = os.strerror(number)
    if where is not None and number in (errno.ENOSPC, errno.EDQUOT):
        description += f" ({_free(where)})"
    remedy = _REMEDIES[number].format(elsewhere=elsewhere or _elsewhere(where), again=AGAIN)
    return Problem(f"{description}; {remedy}", None if where is None else str(where))


def _number(error: BaseException, path: Path | None) -> tuple[int | None, BaseException]:
    """Return the error number, and the exception of its chain that has it."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno, error
    text = str(error)
    if match := re.search(r"\(os error (\d+)\)|\[errno (\d+)\]", text):  # safetensors and tokenizers; pyarrow
        return int(match[1] or match[2]), error
    if isinstance(error, RuntimeError) and any(words in text for words in _TORCH_WRITER):
        if error.__context__ is not None:  # torch.save to an open file keeps the error of its `write`
            number, source = _number(error.__context__, path)
            if number is not None:
                return number, source
        return (errno.ENOSPC if path is not None and _free_bytes(path) < MIB else errno.EIO), error
    return None, error


def _named_file(error: BaseException) -> Path | None:
    name = getattr(error, "filename", None)
    return Path(os.fsdecode(name)) if isinstance(name, str | bytes | os.PathLike) and name else None


def _elsewhere(path: Path | None) -> str:
    if path is not None and cache_dir.contains(path):
        return "set HARNESS_CACHE to a folder on another disk"
    return "choose another folder with --results (HARNESS_CACHE for the cache, TMPDIR for temporary files)"


def _free(path: Path) -> str:
    """Describe the free space of the disk of `path`."""
    usage = _usage(path)
    if usage.f_files and not usage.f_favail:
        return "no inodes are left for new files"
    return f"{_free_bytes(path) / MIB:,.1f} MiB free"


def _free_bytes(path: Path) -> int:
    usage = _usage(path)
    return usage.f_bavail * usage.f_frsize


def _usage(path: Path) -> os.statvfs_result:
    """Return the usage of the disk of `path`, or of its nearest parent that exists."""
    for folder in (path.absolute(), *path.absolute().parents):
        with suppress(OSError):
            return os.statvfs(folder)
    return os.statvfs("/")
