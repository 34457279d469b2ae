"""The trained students of results in the results folder, of which jobs read copies in the cache."""

from __future__ import annotations

from pathlib import Path

from harness.execution.cached_folder import CachedFolder
from harness.storage import checksums

_STUDENT = "student"


class RemovedStudentError(Exception):
    """The student of a result, or a file of it, was removed, as users may do to gain space."""


def find(result: Path) -> Path:
    """Return the folder of the student of a result, after a check of the files.

    A result of an older version has no checksums of the student; it is not checked.

    Raises:
        RemovedStudentError: it does not exist any more.
        CorruptFileError: a file of the result is damaged.
    """
    student = result / _STUDENT
    removed = [result / name for name in checksums.missing(result) if name.startswith(f"{_STUDENT}/")]
    if removed or not student.is_dir():
        raise RemovedStudentError(f"{[*removed, student][0]} does not exist")
    checksums.verify_existing(result)
    return student


def exists(result: Path) -> bool:
    """Whether a result has a student, of which files may be missing."""
    return (result / _STUDENT).is_dir()


def is_current(copy: CachedFolder, result: Path) -> bool:
    """Whether the files of a copy have the checksums that the student of a result has now.

    The key does not tell: the same run, trained again or merged from another machine, can have other bits. Files of the
    student without checksums, of an older version, are not compared.
    """
    copied = checksums.entries(copy.path)
    return (result / "record.json").exists() and all(
        copied.get(name.removeprefix(f"{_STUDENT}/")) == checksum
        for name, checksum in checksums.entries(result).items()
        if name.startswith(f"{_STUDENT}/")
    )
