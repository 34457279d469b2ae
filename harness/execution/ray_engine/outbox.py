"""Reports the progress of a job to the driver: events, log records, checkpoints, artifacts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.api.events import RunFailed, RunFinished
from harness.execution.ray_engine import transport
from harness.execution.ray_engine.messages import Ended, Event, Message
from harness.execution.ray_engine.transport import Roots

INTERVAL = 0.5
"""Seconds between two reports of events and checkpoints."""

Post = Callable[[Message], bool]
"""Sends a message; returns whether the worker should stop."""


class Outbox(logging.Handler):
    """Collects what the driver should know, and posts it: at intervals from a thread, and when an artifact ends.

    Args:
        post: sends a message.
        attempt: number of the attempt.
        checkpoints: returns the checkpoints that exist now.
        roots: the folders of this machine.
    """

    def __init__(self, post: Post, attempt: int, checkpoints: Callable[[], list[Path]], roots: Roots) -> None:
        super().__init__(logging.WARNING)
        self._post = post
        self._attempt = attempt
        self._checkpoints = checkpoints
        self._roots = roots
        self._events: list[Event] = []
        self._ends: list[Event] = []
        self._sent = {path: _stamp(path) for path in checkpoints()}
        self._stopped = threading.Event()
        self._closed = threading.Event()
        self._failure: Exception | None = None
        self._sending = threading.Lock()

    def stopped(self) -> bool:
        """Whether the job should save its state and stop: the driver has asked for it, or does not hear of it."""
        return self._stopped.is_set()

    def event(self, hook: str, event: object) -> None:
        """Report an event. The end of a run is reported with its results, which the driver stores first.

        A trial has none of its own.
        """
        ends = isinstance(event, RunFinished | RunFailed) and event.run.role != "trial"
        (self._ends if ends else self._events).append((hook, event))

    def emit(self, record: logging.LogRecord) -> None:
        self._events.append(("log", (record.levelno, record.getMessage())))

    def finish(self, artifact: str, error: str | None, results: tuple[str, ...]) -> None:
        """Report that an artifact has ended, with its files `results`."""
        self._send(Ended(artifact, error, transport.read(results, self._roots)))

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Report in the background, also what the logger `harness` warns of, until the context ends.

        Raises:
            Exception: a report failed, so that the job was stopped.
        """
        thread = threading.Thread(target=self._report, name="outbox", daemon=True)
        logger = logging.getLogger("harness")
        logger.addHandler(self)
        self._send()
        thread.start()
        try:
            yield
        finally:
            logger.removeHandler(self)
            self._closed.set()
            thread.join()
            self._send()
        if self._failure is not None:
            raise self._failure

    def _report(self) -> None:
        try:
            while not self._closed.wait(INTERVAL):
                self._send()
        except Exception as error:
            self._failure = error
            self._stopped.set()

    def _send(self, ended: Ended | None = None) -> None:
        with self._sending:
            count, ends = len(self._events), len(self._ends) if ended else 0
            events = (*self._events[:count], *self._ends[:ends])
            del self._events[:count], self._ends[:ends]
            present = {path: _stamp(path) for path in self._checkpoints()}
            changed = [path for path, stamp in present.items() if stamp != self._sent.get(path)]
            removed = tuple(self._roots.name(path) for path in self._sent if path not in present)
            files = transport.read(map(self._roots.name, changed), self._roots)
            self._sent = present
            if self._post(Message(self._attempt, events, files, removed, ended)):
                self._stopped.set()


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes whenever a file is written; None if it has been removed."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_size
