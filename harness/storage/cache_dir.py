"""The cache folder: what can be made again. Deleting it costs time, never a result."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def root() -> Path:
    """``$HARNESS_CACHE``, else the platform's cache folder."""
    given = os.environ.get("HARNESS_CACHE")
    return Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("kd-harness"))
