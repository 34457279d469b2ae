"""Checks a results folder: records, predictions, students, checkpoints, and what processes have left behind."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from harness.api.errors import UserError
from harness.storage import atomic_writes, checksums, set_aside
from harness.storage.disk_errors import DiskError
from harness.storage.plan_file import PlanFile
from harness.storage.record_files import OtherVersionError
from harness.storage.store import Store

DATA = ("predictions.parquet", "student")
"""What a run, a teacher or a text stage stores besides its record. A user may remove it."""

CLAIM = ".claim"
"""Suffix of folders by which processes that share a folder claim an artifact."""


class State(StrEnum):
    """What is wrong with a path."""

    DAMAGED = "damaged"
    UNREADABLE = "unreadable"
    OTHER_VERSION = "other version"
    LEFTOVER = "leftover"
    UNFINISHED = "unfinished"
    CLAIMED = "claimed"
    REMOVED = "removed"


BROKEN = {State.DAMAGED, State.UNREADABLE, State.OTHER_VERSION}


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a part of a folder, or that a user may want to know.

    Attributes:
        path: what has to be set aside so that it is made again.
        state: whether it is broken or harmless.
        detail: the file and what is wrong with it, or what happens next.
        is_movable: whether setting it aside helps.
    """

    path: Path
    state: State
    detail: str
    is_movable: bool = True

    @property
    def to_set_aside(self) -> bool:
        """Whether a repair sets the path aside."""
        return self.is_movable and self.state in {*BROKEN, State.LEFTOVER}


@dataclass
class Findings:
    """The findings of a folder, and the number of parts that were checked."""

    items: list[Finding] = field(default_factory=list)
    checked: int = 0

    def add(self, path: Path, state: State, detail: str) -> None:
        """Add a finding."""
        self.items.append(Finding(path, state, detail))

    @contextmanager
    def part(self, path: Path) -> Iterator[None]:
        """Check a part of the folder. Errors that reading it raises become a finding."""
        self.checked += 1
        try:
            yield
        except DiskError as error:
            cause = error.__cause__
            # Moving a file that this user may not read, or that no descriptor is left for, would repair nothing.
            is_movable = isinstance(cause, OSError) and cause.errno == errno.EIO
            self.items.append(Finding(path, State.UNREADABLE, str(error), is_movable))
        except OtherVersionError as error:  # the version that wrote it can read it
            self.items.append(Finding(path, State.OTHER_VERSION, str(error), is_movable=False))
        except (UserError, checksums.CorruptFileError) as error:
            self.items.append(Finding(path, State.DAMAGED, str(error)))

    @property
    def broken(self) -> list[Finding]:
        """What the next run cannot use."""
        return [finding for finding in self.items if finding.state in BROKEN]


def check(store: Store, check_journal: Callable[[Path], None]) -> Findings:
    """Check the results folder of a suite. `check_journal` raises `CorruptFileError` for a damaged tuning journal."""
    findings, folder = Findings(), store.folder
    plan = None
    with findings.part(folder / "plan.json"):
        plan = store.plan()
        if plan is None:
            findings.add(folder / "plan.json", State.UNFINISHED, "does not exist; the next run writes it")
    for kind, read in {"runs": store.record, "teachers": store.teacher_in, "general": store.general}.items():
        for path in folders(folder / kind):
            with findings.part(path):
                _check_result(path, findings, read)
    for kind, read_key in {"latency": store.latency, "tuning": store.tuning, "examples": store.examples}.items():
        for path in sorted((folder / kind).glob("*.parquet" if kind == "examples" else "*.json")):
            with findings.part(path):
                read_key(path.stem)
    for path in sorted(folder.glob("tuning/*.log")):
        with findings.part(path):
            check_journal(path)
    _check_checkpoints(store, plan, findings)
    check_leftovers(folder, findings)
    return findings


def _check_result(path: Path, findings: Findings, read: Callable[[str], object | None]) -> None:
    """Check the record and the data of a run, a teacher or a text stage."""
    try:
        record = read(path.name)
    except OtherVersionError:
        checksums.verify_existing(path)  # a damaged record may name any version
        raise
    if record is None:
        findings.add(path, State.UNFINISHED, "has no record; the next run writes it")
        return
    for data in removed_data(path):
        findings.add(path, State.REMOVED, f"{data} was removed")


def removed_data(folder: Path) -> list[str]:
    """Check the files of a run, a teacher or a text stage, and list what a user has removed: predictions, the student.

    Raises:
        CorruptFileError: a file does not match its checksum, or a part of the student is missing.
    """
    removed, missing = [], checksums.missing(folder)
    for data in DATA:
        if not (folder / data).exists() and any(Path(name).parts[0] == data for name in missing):
            removed.append(data)
            missing = [name for name in missing if Path(name).parts[0] != data]
    if missing:
        raise checksums.CorruptFileError(f"{folder / missing[0]} is missing")
    checksums.verify_existing(folder)
    return removed


def _check_checkpoints(store: Store, plan: PlanFile | None, findings: Findings) -> None:
    """Check the checkpoints of runs, and those of the trials of each tuning."""
    planned = {run.key for run in plan.runs} if plan else set()
    planned |= {study.key for study in plan.tuning.studies if study.key} if plan and plan.tuning else set()
    folder = store.folder / "checkpoints"
    for path in (*sorted(folder.glob("*.pt")), *folders(folder)):
        if plan and path.stem not in planned:
            findings.add(path, State.LEFTOVER, "of no run or tuning of plan.json")
        else:
            check_checkpoints(path, findings)


def check_checkpoints(place: Path, findings: Findings) -> None:
    """Check a checkpoint, or those in a folder."""
    for path in [place] if place.is_file() else sorted(place.glob("*.pt")):
        with findings.part(path):
            checksums.verify_appended(path)


def check_leftovers(folder: Path, findings: Findings) -> None:
    """List temporary files and claims below `folder`."""
    aside = folder / set_aside.NAME
    for path in sorted(folder.rglob(f"*{atomic_writes.SUFFIX}")):
        if not path.is_relative_to(aside):
            with suppress(FileNotFoundError):  # its process has renamed it
                leftover = atomic_writes.is_leftover(path)
                detail = "of a process that has ended" if leftover else "of a process that may still be writing it"
                findings.add(path, State.LEFTOVER if leftover else State.UNFINISHED, detail)
    for path in sorted(folder.rglob(f"*{CLAIM}")):
        if not path.is_relative_to(aside):
            with suppress(FileNotFoundError):  # its process has ended
                seconds = time.time() - max(entry.stat().st_mtime for entry in (path, *path.iterdir()))
                findings.add(path, State.CLAIMED, f"by a process; renewed {seconds:.0f} s ago")


def folders(parent: Path) -> list[Path]:
    """List the folders in `parent`, without temporary ones and claims. Empty if it does not exist."""
    if not parent.is_dir():
        return []
    return sorted(
        path for path in parent.iterdir() if path.is_dir() and path.suffix not in (atomic_writes.SUFFIX, CLAIM)
    )
