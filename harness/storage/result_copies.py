"""Copies results from one results folder to another: data first, the record last, and nothing is overwritten.

The source may come from someone else. Symbolic links are refused, since a copy of what they point to would publish
files from outside the folder; of a result, only files that belong to it are copied.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.api.errors import Problem, UserError
from harness.storage import atomic_writes, checksums, folder_checks

RECORD = "record.json"


def refuse_links(folder: Path, names: Iterable[str]) -> None:
    """Raise `UserError` if one of the paths `names` in `folder`, or anything below it, is a symbolic link."""
    for name in names:
        links = sorted(path for path in (folder / name, *(folder / name).rglob("*")) if path.is_symlink())
        if links:
            remedy = "only files of the folder itself are merged. Replace the link by a copy, or remove it"
            raise UserError(Problem(f"is a symbolic link to {links[0].readlink()}; {remedy}", str(links[0])))


def copy_result(source: Path, target: Path) -> None:
    """Copy the folder of a run, a teacher or a text stage. `target` must not exist.

    Raises:
        UserError: a file of the source does not match its checksum, or a part of it is missing.
        DiskError: a file cannot be read or written.
    """
    try:
        folder_checks.removed_data(source)
    except checksums.CorruptFileError as error:
        raise UserError(Problem(f"{error}; `harness doctor` shows everything that is damaged", str(source))) from error
    files = _files(source)
    for part in dict.fromkeys(source / file.relative_to(source).parts[0] for file in files):
        _copy(part, target / part.name, [file for file in files if file.is_relative_to(part)])


def copy_file(source: Path, target: Path) -> None:
    """Copy a file atomically."""
    _copy(source, target, [source])


def _files(folder: Path) -> list[Path]:
    """The files of a result in the order in which they are copied: those with checksums, and data of older versions.

    Files that exist are selected by their names: a name in the checksums could lead out of the folder.
    """
    listed = checksums.listed(folder)
    older = {*folder_checks.DATA} - {name.split("/")[0] for name in listed}
    last = [folder / checksums.NAME, folder / RECORD]
    data = [
        file
        for file in checksums.files_at(folder)
        if (name := file.relative_to(folder)).as_posix() in listed or name.parts[0] in older
    ]
    return [*sorted({*data} - {*last}), *(file for file in last if file.is_file())]


def _copy(source: Path, target: Path, files: Sequence[Path]) -> None:
    """Copy a file, or a folder with those `files` in it, atomically."""

    def fill(partial: Path) -> None:
        for file in files:
            copied = partial / file.relative_to(source)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copied)

    atomic_writes.write(target, fill)
