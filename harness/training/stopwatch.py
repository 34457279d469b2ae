"""Measures device time without a synchronization per step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Lap:
    """The time from construction to `end`. On a GPU it is measured by two events, which `seconds` reads."""

    def __init__(self, device: torch.device) -> None:
        self._events = [torch.Event("cuda", enable_timing=True) for _ in range(2)] if device.type == "cuda" else []
        self._started = time.perf_counter()
        self._seconds = 0.0
        for event in self._events[:1]:
            event.record()

    def end(self) -> None:
        """Stop the time. Does not wait for the device."""
        self._seconds = time.perf_counter() - self._started
        for event in self._events[1:]:
            event.record()

    def seconds(self) -> float:
        """The time in seconds. The first call waits for the end event."""
        if self._events:
            start, end = self._events
            end.synchronize()
            self._seconds = start.elapsed_time(end) / 1000
            self._events = []
        return self._seconds


class Stopwatch:
    """Sums laps: its own (`running`), or shares of others (`add`)."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._seconds = 0.0
        self._laps: list[tuple[Lap, float]] = []

    @contextmanager
    def running(self) -> Iterator[Lap]:
        """Time the block."""
        lap = Lap(self.device)
        try:
            yield lap
        finally:
            lap.end()
            self.add(lap)

    def add(self, lap: Lap, share: float = 1.0) -> None:
        """Add a share of a lap that has ended."""
        self._laps.append((lap, share))

    def seconds(self) -> float:
        """The sum so far, in seconds. Waits for the device if laps are pending."""
        self._seconds += sum(share * lap.seconds() for lap, share in self._laps)
        self._laps.clear()
        return self._seconds
