"""Ctrl-C and SIGTERM: finish the step, save, and say how to go on; whoever waits for another process waits no more."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout


class Interrupted(Exception):
    """Work was asked to stop, and its state is saved."""


@contextmanager
def locked(target: Path, stop: Callable[[], bool]) -> Iterator[None]:
    """Whoever makes `target` has it alone; waiting for that can take long, and can be stopped: `Interrupted`."""
    lock = FileLock(f"{target}.lock")
    while True:
        try:
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
    """Gives a function that says whether a signal asked to stop. A second signal takes its usual effect at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield asked.is_set
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()
        restore()
        print("stopping: the step is finished and saved first; once more stops at once", file=sys.stderr, flush=True)

    for number in before:
        signal.signal(number, ask)
    try:
        yield asked.is_set
    finally:
        restore()
