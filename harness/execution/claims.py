"""Claims: leases through which processes that share a folder, also on several machines, share the work.

A process claims the path of an artifact before it builds it, and renews the claim every few seconds: a heartbeat sets
the time of change of a file (see `claim_files`). A claim expires when its owner on this machine has ended, or when the
file has not changed for `expiry` seconds. The process that waits measures them with its own monotonic clock
and compares the times of change only with each other, so wrong clocks and clock jumps do no harm.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from harness.api.engine import Interrupted
from harness.execution import claim_files
from harness.execution.claim_files import Entry, Owner


@dataclass
class _Held:
    """A claim of this process: its entry, the time of the last heartbeat, and whether another process took it."""

    entry: Path
    renewed: float
    lost: bool = False


@dataclass(frozen=True)
class _Watch:
    """How long an entry of another process has not changed while this process watched it (seconds)."""

    stamp: tuple[int, ...]
    seen: float
    unchanged: float = 0.0


class Claims:
    """The claims of this process. One thread renews them all, from the first claim until `close`.

    Several threads can use one object; they exclude each other like processes. `take`, `owner` and `held` raise the
    OSError of a folder that is full, or that cannot be read or written. A forked child needs an object of its own.

    Args:
        expiry: seconds without a heartbeat after which a claim of a process that may still run expires.
        interval: seconds between two heartbeats; a small part of `expiry`.
    """

    def __init__(self, *, expiry: float = 60.0, interval: float = 5.0) -> None:
        self._expiry = expiry
        self._interval = interval
        self._process = os.getpid()
        self._held: dict[Path, _Held] = {}
        self._watches: dict[Path, dict[Path, _Watch]] = {}
        self._closed = threading.Event()
        self._heartbeat: threading.Thread | None = None
        self._start = threading.Lock()

    def __enter__(self) -> Claims:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release all claims and end the heartbeat."""
        self._closed.set()
        for claim in list(self._held):
            self._release(claim)
        if self._heartbeat is not None and self._process == os.getpid():
            self._heartbeat.join()

    def take(self, target: Path, description: str) -> bool:
        """Claim `target` if it is free or its claim has expired, without waiting. Return whether that succeeded.

        False as well if this object holds the claim already. `description` says what the process builds.
        """
        if self._closed.is_set() or self._process != os.getpid():
            raise RuntimeError("closed, or made by the parent process")
        claim = claim_files.claim_path(target)
        blocking, expired = self._examine(claim)
        if blocking:
            return False
        for entry in expired:
            claim_files.delete(entry.path, claim)
        path = claim_files.create(claim, description)
        if path is None:  # another process was faster
            return False
        self._watches.pop(claim, None)
        self._held[claim] = _Held(path, time.monotonic())
        self._start_heartbeat()
        return True

    def owner(self, target: Path) -> Owner | None:
        """Return the other process that holds `target`; None if it is free, has expired, or is held by this object."""
        entry = self._other(target)
        return entry.owner if entry else None

    def release(self, target: Path) -> None:
        """Give up the claim of `target`, if this object holds it. A claim of another process stays."""
        self._release(claim_files.claim_path(target))

    def lost(self, target: Path) -> bool:
        """Whether this object does not hold `target` (any more). Ask before you store a result.

        A process loses its claim to another one if it was suspended, or could not renew it, for longer than `expiry`.
        """
        held = self._held.get(claim_files.claim_path(target))
        if held is None:
            return True
        self._renew(held)
        return held.lost

    @contextmanager
    def held(
        self,
        target: Path,
        description: str,
        stop: Callable[[], bool],
        on_wait: Callable[[Owner], object] = lambda owner: None,
    ) -> Iterator[None]:
        """Hold the claim of `target`. While another process holds it, wait; call `on_wait` once for each owner.

        Raises:
            Interrupted: `stop` returned true while another process held the claim.
        """
        known: Entry | None = None
        while not self.take(target, description):
            if stop():
                raise Interrupted
            if (entry := self._other(target)) and (known is None or entry.path != known.path):
                known = entry
                on_wait(entry.owner)
            time.sleep(min(1.0, self._interval) * random.uniform(0.5, 1.0))  # random: not all processes at one moment
        try:
            yield
        finally:
            self.release(target)

    def _other(self, target: Path) -> Entry | None:
        """Return the entry of the other process that holds `target`."""
        claim = claim_files.claim_path(target)
        return None if claim in self._held else self._examine(claim)[0]

    def _examine(self, claim: Path) -> tuple[Entry | None, list[Entry]]:
        """Return the entry of the process that holds the claim, if any, and the entries that have expired."""
        before = self._watches.pop(claim, {})
        now: dict[Path, _Watch] = {}
        blocking: Entry | None = None
        expired: list[Entry] = []
        for entry in claim_files.entries(claim):
            now[entry.path] = watch = self._watched(before.get(entry.path), entry.stamp)
            if watch.unchanged >= self._expiry or entry.owner.has_ended():
                expired.append(entry)
            else:
                blocking = entry
        if now:
            self._watches[claim] = now
        return blocking, expired

    def _watched(self, watch: _Watch | None, stamp: tuple[int, ...]) -> _Watch:
        """Continue to watch an entry.

        The time since the last look counts up to one interval of the heartbeat: if this process was suspended, or
        waited for the file system, so may have been the owner, which must get time to renew its claim.
        """
        now = time.monotonic()
        if watch is None or watch.stamp != stamp:
            return _Watch(stamp, now)
        return _Watch(stamp, now, watch.unchanged + min(now - watch.seen, self._interval))

    def _release(self, claim: Path) -> None:
        if self._process != os.getpid():  # a forked child does not own what its parent holds
            return
        held = self._held.pop(claim, None)
        if held is None:
            return
        with suppress(OSError):  # an entry that cannot be deleted is not renewed any more, and expires
            claim_files.delete(held.entry, claim)
            claim.rmdir()  # fails if another process has an entry in it

    def _start_heartbeat(self) -> None:
        with self._start:
            if self._heartbeat is None:
                self._heartbeat = threading.Thread(target=self._renew_all, name="claims", daemon=True)
                self._heartbeat.start()

    def _renew_all(self) -> None:
        while not self._closed.wait(self._interval):
            for held in list(self._held.values()):
                self._renew(held)

    def _renew(self, held: _Held) -> None:
        """Renew a claim, or find that another process took it. If neither works for `expiry` seconds, it is lost."""
        if held.lost:
            return
        try:
            os.utime(held.entry)
        except OSError as error:
            held.lost = error.errno in claim_files.GONE or time.monotonic() - held.renewed > self._expiry
        else:
            held.renewed = time.monotonic()
