"""Peak memory of a call, on a GPU or in this process."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")
INTERVAL = 0.002
"""Seconds between two samples of the memory of this process."""


def peak_bytes(call: Callable[[], object], device: torch.device) -> int | None:
    """The most bytes that `call` adds to what is allocated before it; None where they cannot be measured.

    On a CPU they are sampled from the process (Linux), so a short peak may be missed.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu" or not STATUS.exists():
        return None
    before, sampler = _resident(), _Sampler()
    sampler.start()
    try:
        call()
    finally:
        sampler.ended.set()
        sampler.join()
    return max(sampler.peak - before, 0)


class _Sampler(threading.Thread):
    """Records the largest memory of the process until `ended` is set."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self.ended = 0, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(INTERVAL):
            self.peak = max(self.peak, _resident())


def _resident() -> int:
    """Resident bytes of the process that are not mapped from files."""
    fields = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024
