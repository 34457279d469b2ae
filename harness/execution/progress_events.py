"""Tells observers of long work that runs wait for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from harness.api.events import Preparing
from harness.plugin_host.host import Host

TOLD_EVERY = 1.0
"""Seconds between two reports, at least."""

Tell = Callable[[int], None]
"""Takes how much is done."""


@contextmanager
def preparing(host: Host, what: str, unit: str, total: int | None = None) -> Iterator[Tell]:
    """Tell of the beginning of `what`, of how many `unit` are done whenever the function given is called, but not more
    often than people read, and of the end, whichever it is."""
    began = told = time.monotonic()
    latest = 0

    def tell(done: int) -> None:
        nonlocal told, latest
        latest = done
        if time.monotonic() - told >= TOLD_EVERY:
            told = time.monotonic()
            host.notify("harness_preparing", Preparing(what, unit, done, total, told - began))

    host.notify("harness_preparing", Preparing(what, unit, 0, total, 0.0))
    try:
        yield tell
    finally:
        seconds = time.monotonic() - began
        host.notify("harness_preparing", Preparing(what, unit, latest, total, seconds, ended=True))
