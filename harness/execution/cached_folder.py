"""Folders of the cache whose files have checksums, which are verified before they are used."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.storage import atomic_writes, checksums

log = logging.getLogger("harness")


@dataclass(frozen=True)
class CachedFolder:
    """A folder of the cache that is written as a whole, with the checksums of its files.

    Attributes:
        path: its path; there may be nothing yet.
        description: what it has, for warnings: ``teacher base on sst2``.
    """

    path: Path
    description: str

    def is_kept(self, *, verify: bool = True) -> bool:
        """Whether it exists and, with `verify`, its files match their checksums."""
        return checksums.is_intact(self.path) if verify else self.path.exists()

    def found_intact(self) -> bool:
        """Like `is_kept`, but warns if the folder is damaged: the caller must make it again."""
        intact = self.is_kept()
        if not intact:
            self.warn_if_damaged()
        return intact

    def warn_if_damaged(self) -> None:
        """Log a warning if it exists and is damaged, before it is made again."""
        if not self.path.exists():
            return
        try:
            checksums.verify(self.path)
        except checksums.CorruptFileError as damage:
            log.warning("the cached %s is damaged and is made again: %s", self.description, damage)

    def write(self, fill: Callable[[Path], object]) -> None:
        """Replace it atomically: ``fill(path)`` creates the folder, and then its files get their checksums."""

        def sealed(path: Path) -> None:
            fill(path)
            checksums.seal(path)

        atomic_writes.write(self.path, sealed)
