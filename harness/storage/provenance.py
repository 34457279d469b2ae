"""Where a result comes from: the machine, the packages, the commit."""

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

NO_CHANGE = (":(exclude)results", ":(exclude)benchmarks/results")
"""What a run writes by itself."""

PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "evaluate", "numpy")


def hardware(device: str) -> Hardware:
    """The machine as `device` (``cpu``, ``cuda``, ``cuda:1``, ``mps``) sees it.

    `name` and `memory_bytes` are those of the accelerator where there is one; `cores` are the processor's cores that
    this process may use, `threads` those that torch does use.
    """
    import torch

    kind = torch.device(device).type
    name, memory = processor(), _memory()
    if kind == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name, memory = properties.name, properties.total_memory
    return Hardware(device=kind, name=name, cores=_cores(), threads=torch.get_num_threads(), memory_bytes=memory)


def packages() -> dict[str, str]:
    """Versions of all that can change a number. Those not installed are left out."""
    found = {"harness": harness.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def git() -> tuple[str | None, bool | None]:
    """The commit of the checkout that the harness runs from, and whether it was changed since.

    Both None for an installed package. Results do not count as a change. Asked once: the code that runs is the one
    that was there when the process began.
    """
    return checkout(Path(harness.__file__).resolve().parents[1])


def checkout(root: Path) -> tuple[str | None, bool | None]:
    """The commit of the git checkout whose top is `root`, and whether its files differ from it; else (None, None)."""
    if not (root / ".git").exists():
        return None, None
    commit = _ask("git", "-C", str(root), "rev-parse", "HEAD")
    changes = _ask("git", "-C", str(root), "status", "--porcelain", "--", ".", *NO_CHANGE)
    if commit is None or changes is None:
        return None, None
    return commit, bool(changes)


def now() -> str:
    """The time, ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def processor() -> str:
    """The processor's model, as it names itself."""
    return _cpuinfo() or _sysctl() or platform.processor() or platform.machine() or "unknown processor"


def _cpuinfo(path: Path = Path("/proc/cpuinfo")) -> str | None:
    """Linux on x86 names the model; on ARM there may be none."""
    if not path.is_file():
        return None
    fields = (line.partition(":") for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return next((value.strip() for key, _, value in fields if key.strip() == "model name" and value.strip()), None)


def _sysctl() -> str | None:
    return _ask("sysctl", "-n", "machdep.cpu.brand_string") if sys.platform == "darwin" else None


def _cores() -> int:
    """A container or a batch system may give fewer cores than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _ask(*command: str) -> str | None:
    """What a command prints; None if it is not there, fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
