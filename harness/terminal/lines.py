"""The line that tells of a run's end, and durations as people write them."""

from __future__ import annotations

import math

from harness.events import Preparing, RunFailed, RunFinished


def finished_line(event: RunFinished) -> str:
    """``finished sst2 tinybert 4x312 seed 1: 0.9123 in 2 min 5 s``."""
    score = "no score" if event.score is None else "undefined" if math.isnan(event.score) else f"{event.score:.4f}"
    return f"finished {event.run}: {score} in {duration(event.seconds)}"


def failed_line(event: RunFailed) -> str:
    """``failed   sst2 tinybert 4x312 seed 1: step 30 (intermediate): ValueError: ...``; the error says where."""
    return f"failed   {event.run}: {event.error}"


def prepared_line(event: Preparing) -> str:
    """``made     training data of rte for tinybert in 12 s``, or ``stopped  ...: 120 of 400 batches``."""
    if event.total is not None and event.done < event.total:
        return f"stopped  {event.what}: {event.done} of {event.total} {event.unit}"
    return f"made     {event.what} in {duration(event.seconds)}"


def duration(seconds: float) -> str:
    """``0.4 s``, ``42 s``, ``2 min 5 s``, ``1 h 3 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
