"""How long tests wait for processes and threads that should end, and how they measure what is fast.

Wall time says little on a busy machine, so no test fails because something took some seconds of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

PATIENCE = 600
"""Seconds of wall time after which a test takes a process or thread for one that hangs."""

SLEEP_METER = """
import atexit, sys, time
slept, sleep = [], time.sleep
def metered(seconds):
    slept.append(seconds)
    sleep(seconds)
time.sleep = metered
atexit.register(lambda: print("SLEPT", sum(slept), file=sys.stderr))
"""
"""Source that comes first in a ``python -c`` process, to report how long it sleeps, as clients between retries."""


def seconds_slept(stderr: str) -> float:
    """What a process with `SLEEP_METER` has reported."""
    found = re.search(r"^SLEPT (\S+)$", stderr, re.MULTILINE)
    assert found, stderr
    return float(found[1])


def cheapest(measure: Callable[[], float], budget: float, attempts: int = 3) -> float:
    """The least of up to `attempts` measurements of CPU seconds; the first one within the budget is the last.

    Other processes compete for caches and cores, so the same work sometimes takes more.
    """
    least = measure()
    for _ in range(attempts - 1):
        if least < budget:
            break
        least = min(least, measure())
    return least
