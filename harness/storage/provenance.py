"""Provenance of a result: machine, package versions, git commit."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import harness
from harness.storage.records import Hardware

IGNORED = (":(exclude)results", ":(exclude)benchmarks/results")
"""Paths that runs write to; changes there do not make a checkout dirty."""

PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "evaluate", "numpy")


def hardware(device: str) -> Hardware:
    """Return the hardware of `device` (``cpu``, ``cuda``, ``cuda:1``, ``mps``).

    For CUDA, `name` and `memory_bytes` are those of the accelerator. `cores` are the CPU cores that this process may
    use, `threads` those that torch uses.
    """
    import torch

    kind = torch.device(device).type
    name, memory = processor(), _memory()
    if kind == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name, memory = properties.name, properties.total_memory
    return Hardware(device=kind, name=name, cores=_cores(), threads=torch.get_num_threads(), memory_bytes=memory)


def packages() -> dict[str, str]:
    """Return the versions of the packages that can change a result, without those not installed."""
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    versions = {"harness": harness.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


@cache
def git() -> tuple[str | None, bool | None]:
    """Return the commit of the checkout that the harness runs from, and whether its files differ from it.

    Both are None for an installed package. Cached, since the process runs the code that existed when it started.
    """
    return checkout(Path(harness.__file__).resolve().parents[1])


def checkout(root: Path) -> tuple[str | None, bool | None]:
    """Return the commit of the git checkout at `root`, and whether its files differ from it; else (None, None)."""
    if not (root / ".git").exists():
        return None, None
    commit = _output("git", "-C", str(root), "rev-parse", "HEAD")
    changes = _output("git", "-C", str(root), "status", "--porcelain", "--", ".", *IGNORED)
    if commit is None or changes is None:
        return None, None
    return commit, bool(changes)


def now() -> str:
    """Return the current time, ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def processor() -> str:
    """Return the name of the CPU model."""
    return _cpuinfo() or _sysctl() or platform.processor() or platform.machine() or "unknown processor"


def _cpuinfo(path: Path = Path("/proc/cpuinfo")) -> str | None:
    """Return the model name in /proc/cpuinfo; None if there is none, as on ARM."""
    if not path.is_file():
        return None
    fields = (line.partition(":") for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return next((value.strip() for key, _, value in fields if key.strip() == "model name" and value.strip()), None)


def _sysctl() -> str | None:
    return _output("sysctl", "-n", "machdep.cpu.brand_string") if sys.platform == "darwin" else None


def _cores() -> int:
    """Return the number of cores this process may use; a container or batch system may limit them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _output(*command: str) -> str | None:
    """Return the output of a command; None if it does not exist, fails or times out."""
    try:
        completed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return completed.stdout.strip()
