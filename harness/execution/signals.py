"""Handles Ctrl-C and SIGTERM, and locks whose waiting can be stopped by them."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from harness.storage.disk_errors import explained


class Interrupted(Exception):
    """A signal stopped the work. All state that is needed to continue is saved."""


@contextmanager
def locked(target: Path, stop: Callable[[], bool]) -> Iterator[None]:
    """Hold the lock file of `target`, so that only one process builds it.

    Raises:
        Interrupted: `stop` returned true while another process held the lock.
        DiskError: the lock file cannot be written.
    """
    lock = FileLock(f"{target}.lock")
    while True:
        try:
            with explained(target):
                lock.acquire(timeout=1)
            break
        except Timeout:
            if stop():
                raise Interrupted from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether SIGINT or SIGTERM was received. A second signal has its default effect."""
    stop_requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield stop_requested.is_set
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def request_stop(number: int, frame: FrameType | None) -> None:
        stop_requested.set()
        restore()
        print("stopping: the step is finished and saved first; once more stops at once", file=sys.stderr, flush=True)

    for number in previous:
        signal.signal(number, request_stop)
    try:
        yield stop_requested.is_set
    finally:
        restore()
