"""Device time, read without a synchronisation per step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Lap:
    """The time from here to `end`. On a GPU two events, read only when asked."""

    def __init__(self, device: torch.device) -> None:
        self._events = [torch.Event("cuda", enable_timing=True) for _ in range(2)] if device.type == "cuda" else []
        self._started = time.perf_counter()
        self._seconds = 0.0
        for event in self._events[:1]:
            event.record()

    def end(self) -> None:
        self._seconds = time.perf_counter() - self._started
        for event in self._events[1:]:
            event.record()

    def seconds(self) -> float:
        """Waits for the device if there is something to wait for."""
        if self._events:
            start, end = self._events
            end.synchronize()
            self._seconds = start.elapsed_time(end) / 1000
            self._events = []
        return self._seconds


class Stopwatch:
    """Adds up laps: its own, or a share of those of others."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._seconds = 0.0
        self._laps: list[tuple[Lap, float]] = []

    @contextmanager
    def running(self) -> Iterator[Lap]:
        """Time what is inside; the lap can be read once that is over."""
        lap = Lap(self.device)
        try:
            yield lap
        finally:
            lap.end()
            self.add(lap)

    def add(self, lap: Lap, share: float = 1.0) -> None:
        """A lap that is over."""
        self._laps.append((lap, share))

    def seconds(self) -> float:
        """So far. Waits for the device if there is something to wait for."""
        self._seconds += sum(share * lap.seconds() for lap, share in self._laps)
        self._laps.clear()
        return self._seconds
