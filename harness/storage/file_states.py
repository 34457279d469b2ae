"""Tells by the times of a file whether its content has changed, without reading it."""

from __future__ import annotations

import os

SETTLED = 2.0
"""Seconds after the last change of a file from which on its times identify its content.

Times are coarse: two changes within a tick of the system's clock, or of a file system's, have the same time.
"""


def settled_state(stat: os.stat_result, *, before: float) -> tuple[int, ...] | None:
    """What differs after each change of a file; None if that is not certain, because it has changed since `before`.

    No program can set back `st_ctime`, the time of the last change of content or metadata.

    Args:
        stat: of the file.
        before: `SETTLED` seconds before the content is read, or was read (seconds since the epoch).
    """
    if stat.st_ctime > before:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
