"""Progress events of long preparations, such as augmenting data or computing teacher outputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harness.api.events import Preparing
from harness.plugin_host.host import Host

TOLD_EVERY = 1.0
"""Minimum seconds between two progress events."""

Tell = Callable[[int], None]
"""Reports progress; takes the number of units done."""


@contextmanager
def preparing(host: Host, description: str, unit: str, total: int | None = None) -> Iterator[Tell]:
    """Send observers a `Preparing` event at the start, at most every `TOLD_EVERY` seconds, and at the end.

    The yielded function takes the number of units done. The last event is sent after an exception as well.

    Args:
        host: has the observers.
        description: what is prepared.
        unit: name of the unit, in the plural.
        total: number of units, if it is known.
    """
    began = reported = time.monotonic()
    latest = 0

    def tell(done: int) -> None:
        nonlocal reported, latest
        latest = done
        if time.monotonic() - reported >= TOLD_EVERY:
            reported = time.monotonic()
            host.notify("harness_preparing", Preparing(description, unit, done, total, reported - began))

    host.notify("harness_preparing", Preparing(description, unit, 0, total, 0.0))
    try:
        yield tell
    finally:
        seconds = time.monotonic() - began
        host.notify("harness_preparing", Preparing(description, unit, latest, total, seconds, ended=True))
