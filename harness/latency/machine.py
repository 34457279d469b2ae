"""The machine while it is measured: held still as far as a process can, and asked for its clocks."""

from __future__ import annotations

import gc
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


@contextmanager
def held_still(threads: int | None) -> Iterator[None]:
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


def clocks(device: torch.device) -> dict[str, float]:
    """MHz by name, where the machine tells: the mean over the processor's cores, and the accelerator's."""
    found = _processor(Path("/proc/cpuinfo"))
    return found | (_accelerator(device.index or 0) if device.type == "cuda" else {})


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


def _accelerator(index: int) -> dict[str, float]:
    query = ["nvidia-smi", f"--id={index}", "--query-gpu=clocks.sm,clocks.mem", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True, timeout=10)
        sm, memory = (float(value) for value in done.stdout.split(","))
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}
    return {"accelerator": sm, "accelerator memory": memory}
