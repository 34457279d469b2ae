"""Verifies the checksums of cached folders before they are used."""

from __future__ import annotations

import logging
from pathlib import Path

from harness.storage import checksums

log = logging.getLogger("harness")


def found_intact(folder: Path, description: str) -> bool:
    """Whether `folder` exists and matches its checksums.

    A damaged folder is logged as a warning with its `description`; the caller must build it again.
    """
    if not folder.exists():
        return False
    try:
        checksums.verify(folder)
    except checksums.CorruptFileError as damage:
        log.warning("the cached %s is damaged and is made again: %s", description, damage)
        return False
    return True
