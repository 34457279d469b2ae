"""The machine while it is measured: held still as far as a process can, and asked how it is."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from harness.latency import nvidia


@contextmanager
def stable_conditions(threads: int | None) -> Iterator[None]:
    """A fixed number of threads (None: as many as torch uses already) and no garbage collection inside."""
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


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@dataclass(frozen=True)
class State:
    """The machine at a moment: MHz and degrees Celsius by name, where it tells, and who else was on the accelerator."""

    clocks: dict[str, float]
    temperatures: dict[str, float]
    foreign: tuple[str, ...]


def state(device: torch.device) -> State:
    """The clock of the processor, a mean over its cores; on CUDA the GPU's clocks, temperatures and processes too."""
    gpu = nvidia.query(_uuid(device)) if device.type == "cuda" else nvidia.Gpu()
    return State(_processor(Path("/proc/cpuinfo")) | gpu.clocks, gpu.temperatures, gpu.foreign)


def thread_counts(asked: int | str | Sequence[int | str] | None, device: torch.device) -> list[int]:
    """The numbers of threads to measure with; without any asked for, 1 and all on the CPU, and else all.

    ``all`` is what torch takes by itself: the cores that do not share their units, or what OMP_NUM_THREADS says.
    """
    if asked is None:
        asked = [1, "all"] if device.type == "cpu" else "all"
    given = [asked] if isinstance(asked, int | str) else asked
    return list(dict.fromkeys(each if isinstance(each, int) else torch.get_num_threads() for each in given))


def load() -> float | None:
    """Processes that want to run, a mean over the last minute; None where the system does not count them."""
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):  # a system that does not count, and one that has no such call
        return None


def _processor(path: Path) -> dict[str, float]:
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8", errors="replace")
    values = [float(value) for value in re.findall(r"^cpu MHz\s*:\s*([0-9.]+)\s*$", text, re.MULTILINE)]
    return {"processor": round(sum(values) / len(values), 1)} if values else {}


def _uuid(device: torch.device) -> str:
    """As nvidia-smi names the device: its numbers are not torch's where some devices are hidden."""
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return str(device.index or 0) if uuid is None else f"GPU-{uuid}"
