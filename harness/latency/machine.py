"""Controls and observes the machine during a measurement: threads, garbage collection, clocks, load."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.api.lazy_torch import torch
from harness.latency import nvidia


@contextmanager
def stable_conditions(threads: int | None) -> Iterator[None]:
    """Context with a fixed number of torch threads (None: unchanged) and without garbage collection."""
    before, collecting = torch.get_num_threads(), gc.isenabled()
    gc.collect()
    gc.disable()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if collecting:
            gc.enable()


@dataclass(frozen=True)
class State:
    """The state of the machine at one moment.

    Attributes:
        clocks: MHz by name, as far as known.
        temperatures: degrees Celsius by name, as far as known.
        foreign: processes of others on the accelerator; None: unknown.
    """

    clocks: dict[str, float]
    temperatures: dict[str, float]
    foreign: tuple[str, ...] | None


def state(device: torch.device) -> State:
    """The mean clock of the CPU cores; on CUDA also clocks, temperatures and processes of the GPU."""
    gpu = nvidia.query(_uuid(device)) if device.type == "cuda" else nvidia.Gpu(foreign=())
    return State(_processor(Path("/proc/cpuinfo")) | gpu.clocks, gpu.temperatures, gpu.foreign)


def thread_counts(threads: int | str | Sequence[int | str] | None, device: torch.device) -> list[int]:
    """Resolve ``latency.threads`` to the distinct numbers of threads to measure with.

    The default is ``[1, all]`` on the CPU and ``all`` elsewhere. ``all`` is torch's own default: the number of physical
    cores, or OMP_NUM_THREADS.
    """
    if threads is None:
        threads = [1, "all"] if device.type == "cpu" else "all"
    counts = [threads] if isinstance(threads, int | str) else threads
    return list(dict.fromkeys(n if isinstance(n, int) else torch.get_num_threads() for n in counts))


def load() -> float | None:
    """The load average over the last minute; None if the system does not provide it."""
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):  # unknown, or not implemented on this system
        return None


def _processor(path: Path) -> dict[str, float]:
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8", errors="replace")
    values = [float(value) for value in re.findall(r"^cpu MHz\s*:\s*([0-9.]+)\s*$", text, re.MULTILINE)]
    return {"processor": round(sum(values) / len(values), 1)} if values else {}


def _uuid(device: torch.device) -> str:
    """The UUID of the device for nvidia-smi, whose indices differ from torch's if some devices are hidden."""
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return str(device.index or 0) if uuid is None else f"GPU-{uuid}"
