"""Copies results from one results folder to another: data first, the record last, and nothing is overwritten.

A copy that is killed leaves data without a record, which the next copy of the same result completes.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.api.errors import Problem, UserError
from harness.storage import atomic_writes, checksums, folder_checks

RECORD = "record.json"


def copy_result(source: Path, target: Path) -> None:
    """Copy the folder of a run, a teacher or a text stage. `target` must have no record.

    Raises:
        UserError: a file of the source does not match its checksum, or a part of it is missing.
        DiskError: a file cannot be read or written.
    """
    try:
        folder_checks.removed_data(source)
    except checksums.CorruptFileError as error:
        raise UserError(Problem(f"{error}; `harness doctor` shows everything that is damaged", str(source))) from error
    for part in sorted(
        source.iterdir(), key=lambda path: (path.name == RECORD, path.name == checksums.NAME, path.name)
    ):
        if part.suffix not in (atomic_writes.SUFFIX, folder_checks.CLAIM):
            copy(part, target / part.name)


def copy(source: Path, target: Path) -> None:
    """Copy a file, or a folder with the files in it, atomically."""
    atomic_writes.write(target, lambda partial: _fill(source, partial))


def _fill(source: Path, target: Path) -> None:
    if source.is_dir():
        target.mkdir()
    for file in checksums.files_at(source):
        copied = target / file.relative_to(source)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copied)
