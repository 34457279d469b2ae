"""The files of claims, and the operations on them that keep two processes from holding one claim.

The claim of an artifact is the folder ``<artifact>.claim`` with one file, the *entry*, whose name is unique and whose
content says who the owner is. Each operation is a single atomic step of the file system, on NFS as well:

- To create a claim, a process prepares the folder with its entry under a temporary name and renames it to
  ``<artifact>.claim``. The rename fails while that folder has an entry; of several processes, one succeeds.
- To take a claim that has expired, a process deletes the old entry, and then creates the claim like everyone else.
  The name of an entry never occurs again: a process that decides late deletes nothing, and not the next owner's entry.
- To release a claim, the owner deletes its entry, and then the folder, which fails if it has a new entry.

A process can die or be suspended between any two of these steps: the claim is then either free, or has the entry of one
owner, which expires.
"""

from __future__ import annotations

import errno
import os
import platform
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from harness.storage import atomic_writes, process_identity

SUFFIX = ".claim"

GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)
"""Error numbers of an access to an entry that was deleted; ESTALE: by another client of NFS."""

_OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
"""Error numbers of a rename to a folder that is not empty, or to a file."""


class Owner(BaseModel):
    """The process that holds a claim: the content of an entry.

    Attributes:
        machine: the scope of the process id, see `process_identity.machine`.
        host: name of the machine, for display.
        process: process id.
        started: start time of the process, see `process_identity.start_time`.
        claimed: when it took the claim, by its own clock; for display.
        description: what it builds.
    """

    model_config = ConfigDict(frozen=True)

    machine: str
    host: str
    process: NonNegativeInt
    started: str | None
    claimed: datetime
    description: str

    def has_ended(self) -> bool | None:
        """Whether the process has ended; None if that is unknown, because it is on another machine."""
        if self.machine != process_identity.machine():
            return None
        return not process_identity.is_running(self.process, self.started)

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


UNKNOWN = Owner(
    machine="",
    host="an unknown host",
    process=0,
    started=None,
    claimed=datetime.fromtimestamp(0, UTC),
    description="a damaged claim",
)
"""The owner of a claim whose entry cannot be read. The claim expires like that of another machine."""


@dataclass(frozen=True)
class Entry:
    """An entry as it was read.

    Attributes:
        path: path of the file.
        owner: the process that holds the claim; `UNKNOWN` if the content is damaged.
        changed: time of the last heartbeat by the clock of the file system (seconds since the epoch).
        stamp: a value that differs after each heartbeat.
    """

    path: Path
    owner: Owner
    changed: float
    stamp: tuple[int, ...]


def claim_path(target: Path) -> Path:
    """The folder of the claim of `target`, as an absolute path."""
    return target.absolute().with_name(target.name + SUFFIX)


def entries(claim: Path) -> list[Entry]:
    """Read the entries of a claim; none if it is free. A file in the place of the folder counts as a damaged entry."""
    try:
        paths = [claim] if claim.is_symlink() else sorted(claim.iterdir())
    except NotADirectoryError:
        paths = [claim]
    except OSError as error:
        if error.errno not in GONE:
            raise
        paths = []
    return [entry for path in paths if (entry := _read(path))]


def create(claim: Path, description: str) -> Path | None:
    """Create the claim for this process, and return the path of its entry; None if another process has the claim."""
    process = os.getpid()
    owner = Owner(
        machine=process_identity.machine(),
        host=platform.node(),
        process=process,
        started=process_identity.start_time(process),
        claimed=datetime.now(UTC),
        description=description,
    )
    name = f"{secrets.token_hex(8)}.json"
    claim.parent.mkdir(parents=True, exist_ok=True)
    prepared = atomic_writes.partial_path(claim)
    try:
        prepared.mkdir()
        (prepared / name).write_text(owner.model_dump_json() + "\n", encoding="utf-8")
        return claim / name if _rename(prepared, claim, name) else None
    except OSError as error:
        error.filename = error.filename or str(claim)  # an error in writing or closing a file does not name it
        raise
    finally:
        with suppress(OSError):  # after a successful rename it does not exist
            atomic_writes.remove(prepared)


def delete(entry: Path, claim: Path) -> None:
    """Delete an entry, if it still exists."""
    try:
        if entry != claim:
            atomic_writes.remove(entry)
        elif not claim.is_dir() or claim.is_symlink():
            claim.unlink()
    except OSError as error:
        if error.errno not in (*GONE, errno.EISDIR):  # EISDIR: a new claim has taken the place of the file
            raise


def remaining(folder: Path) -> Iterator[tuple[Path, Entry]]:
    """Yield each claimed path in `folder` and below, and the entry. Changes nothing; skips what cannot be read."""
    for parent, folders, files in os.walk(folder):
        for name in sorted(name for name in (*folders, *files) if name.endswith(SUFFIX)):
            claim = Path(parent, name)
            with suppress(OSError):
                for entry in entries(claim):
                    yield claim.with_suffix(""), entry
        folders[:] = sorted(name for name in folders if not name.endswith(SUFFIX))


def _read(path: Path) -> Entry | None:
    """Read an entry; None if it is gone."""
    owner = UNKNOWN
    with suppress(OSError, ValidationError):
        owner = Owner.model_validate_json(path.read_bytes())
    try:
        status = path.lstat()  # after the entry was opened: to open it, NFS asks the server
    except OSError as error:
        if error.errno in GONE:
            return None
        raise
    return Entry(path, owner, status.st_mtime, (status.st_mtime_ns, status.st_size, status.st_ino))


def _rename(prepared: Path, claim: Path, name: str) -> bool:
    """Rename the prepared folder with the entry `name` to `claim`, and return whether that succeeded."""
    with suppress(OSError):  # it is not empty, or does not exist
        claim.rmdir()  # a folder without an entry is free; some file systems refuse to rename to an empty folder
    try:
        prepared.rename(claim)
    except OSError as error:
        if (claim / name).exists():  # NFS repeats a request whose reply was lost, and reports the error of the second
            return True
        if error.errno in _OCCUPIED:
            return False
        raise
    return True
