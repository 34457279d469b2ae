"""The free memory of a GPU, or of the machine within the limits of the process's control groups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch


def on(device: str) -> int:
    """Return the bytes that are free on a device."""
    kind = torch.device(device).type
    if kind == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch keeps it
        return torch.cuda.mem_get_info(device)[0] + unused
    if kind == "mps":
        return torch.mps.recommended_max_memory()
    return available()


def available() -> int:
    """Return the bytes of memory that a process can use without swapping, at most the limit of its control groups.

    Where the system does not report available memory, this is all physical memory.
    """
    memory, meminfo = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), Path("/proc/meminfo")
    if meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        memory = int(lines["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in lines else memory
    return min([memory, *cgroup_limits()])


def cgroup_limits(own: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """Yield the memory limits in bytes of the control groups of this process: of its container, or of its Slurm job.

    Args:
        own: the file that names them, each as ``number:controllers:/path``; version 2 names no controllers.
        root: the folder of their settings.
    """
    for line in own.read_text().splitlines() if own.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base, name = (root / "memory", "memory.limit_in_bytes") if controllers else (root, "memory.max")
        folder = Path(path.lstrip("/"))
        for part in (folder, *folder.parents):  # a group has at most the memory of those around it
            limit = base / part / name
            if limit.exists() and (text := limit.read_text().strip()).isdigit():
                yield int(text)
