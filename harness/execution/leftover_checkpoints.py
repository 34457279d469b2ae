"""Removes the checkpoints of what is finished: a process was killed after it had stored the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.api.errors import UserError
from harness.execution.claims import Claims
from harness.storage import atomic_writes, cache_dir, checksums
from harness.storage.folder_checks import folders
from harness.storage.store import Store


@dataclass(frozen=True)
class _Saved:
    """A checkpoint, or the folder of those of a tuning's trials.

    Attributes:
        path: its path.
        target: what a process claims that trains from it.
        is_finished: whether no training continues from it. Raises `UserError` if the result cannot be read.
    """

    path: Path
    target: Path
    is_finished: Callable[[], bool]


def remove(store: Store, claims: Claims) -> None:
    """Remove the checkpoints of completed runs and tunings, and those in the cache of trained teachers and students.

    A checkpoint stays if another process has claimed its result, or if the result cannot be read.
    """
    for saved in (*_in_results(store), *_in_cache(cache_dir.root())):
        with suppress(UserError):
            if saved.is_finished() and claims.take(saved.target, f"removal of {saved.path.name}"):
                _remove(saved, claims)


def _remove(saved: _Saved, claims: Claims) -> None:
    try:
        if saved.is_finished():  # it may have been set aside before it was claimed
            atomic_writes.forget(saved.path)
    finally:
        claims.release(saved.target)


def _in_results(store: Store) -> Iterator[_Saved]:
    folder = store.folder / "checkpoints"
    for path in folder.glob("*.pt"):
        yield _Saved(path, store.run_folder(path.stem), partial(_is_completed, store, path.stem))
    for path in folders(folder):
        yield _Saved(path, store.journal(path.name), partial(_is_tuned, store, path.name))


def _in_cache(cache: Path) -> Iterator[_Saved]:
    """Checkpoints of teachers and of students that are distilled on text."""
    for path in (path for kind in ("teachers", "general") for path in (cache / kind).glob("*.pt")):
        target = path.with_suffix("")
        yield _Saved(path, target, partial(checksums.is_intact, target))


def _is_completed(store: Store, key: str) -> bool:
    record = store.record(key)
    return record is not None and record.status == "completed"


def _is_tuned(store: Store, key: str) -> bool:
    return store.tuning(key) is not None
