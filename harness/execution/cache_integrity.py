"""Cached folders are verified before they are used; one that is damaged is reported and made again."""

from __future__ import annotations

import logging
from pathlib import Path

from harness.storage import checksums

log = logging.getLogger("harness")


def found_intact(folder: Path, what: str) -> bool:
    """Whether the cache holds `folder` as it was written. A damaged one is reported: the caller makes it again."""
    if not folder.exists():
        return False
    try:
        checksums.verify(folder)
    except checksums.CorruptFileError as damage:
        log.warning("the cached %s is damaged and is made again: %s", what, damage)
        return False
    return True
