"""The cache folder. It can be deleted at any time: everything in it can be computed again."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def root() -> Path:
    """Return ``$HARNESS_CACHE``, or else the platform's cache folder."""
    folder = os.environ.get("HARNESS_CACHE")
    return Path(folder).expanduser() if folder else Path(platformdirs.user_cache_dir("kd-harness"))


def contains(path: Path) -> bool:
    """Whether `path` is in the cache folder, so that the harness has made it."""
    return path.absolute().is_relative_to(root().absolute())
