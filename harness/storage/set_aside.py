"""Sets files and folders aside: moves them, so that they are made again and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from harness.storage.disk_errors import explained

NAME = "set-aside"
"""Folder in a results folder or a cache, with one folder for each time that something was set aside."""


def move(folder: Path, paths: Iterable[Path]) -> Path:
    """Move `paths`, which are below `folder`, to ``folder/set-aside/<time>/``, with their relative paths.

    Returns the new folder.

    Raises:
        DiskError: a path cannot be moved. Those before it have been moved.
    """
    time = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    names = [time, *(f"{time}-{number}" for number in range(2, 1000))]
    target = next(folder / NAME / name for name in names if not (folder / NAME / name).exists())
    for path in paths:
        with explained(path):
            moved = target / path.relative_to(folder)
            moved.parent.mkdir(parents=True, exist_ok=True)
            path.rename(moved)
    return target
