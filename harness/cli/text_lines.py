"""Lines about the progress: runs that finished or failed, prepared data, work of other processes."""

from __future__ import annotations

import math
import sys

from harness.api.events import Preparing, RunFailed, RunFinished, Waiting
from harness.reporting.formatting import duration


def finished_line(event: RunFinished) -> str:
    """``finished sst2 tinybert 4x312 seed 1: 0.9123 in 2.1 min``; a text stage has no score."""
    if event.run.role == "general":
        return f"finished {event.run} in {duration(event.seconds)}"
    score = "no score" if event.score is None else "undefined" if math.isnan(event.score) else f"{event.score:.4f}"
    return f"finished {event.run}: {score} in {duration(event.seconds)}"


def failed_line(event: RunFailed) -> str:
    """``failed   sst2 tinybert 4x312 seed 1: step 30 (intermediate): ValueError: ...``."""
    return f"failed   {event.run}: {event.error}"


def prepared_line(event: Preparing) -> str:
    """``prepared training data of rte for tinybert in 12.0 s``, or ``stopped  ...: 120 of 400 batches``."""
    if event.total is not None and event.done < event.total:
        return f"stopped  {event.what}: {event.done} of {event.total} {event.unit}"
    return f"prepared {event.what} in {duration(event.seconds)}"


def waiting_line(event: Waiting) -> str:
    """``waiting  for teacher base on sst2: process 4711 on node2 builds it``."""
    return f"waiting  for {event.what}: process {event.owner_process} on {event.owner_host} builds it"


def print_status(line: str) -> None:
    """Print a line on stderr at once."""
    print(line, file=sys.stderr, flush=True)


def print_nothing(line: str) -> None:
    """What commands with `--quiet` use instead of `print_status`."""
