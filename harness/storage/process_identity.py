"""Identity of processes and of the machine they run on, so that a process can tell whether another one still runs."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path


@cache
def machine() -> str:
    """Return an id of the scope in which process ids are unique: this boot of the machine, and the PID namespace.

    The host name alone does not suffice: containers share it, and so do machines made from one image.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # not Linux
        boot, namespace = hex(uuid.getnode()), ""
    return hashlib.sha256(f"{platform.node()} {boot} {namespace}".encode()).hexdigest()[:8]


def start_time(process: int) -> str | None:
    """Return when a process of this machine started, in a form that can only be compared; None if that is unknown.

    The system uses the id of a process again after it has ended; id and start time together identify a process.
    """
    if fields := _stat_fields(process):
        return fields[19]
    with suppress(OSError, subprocess.SubprocessError):
        environment = os.environ | {"LC_ALL": "C", "TZ": "UTC"}
        command = ["ps", "-o", "lstart=", "-p", str(process)]
        return (
            subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10).stdout.strip() or None
        )
    return None


def is_running(process: int, started: str | None = None) -> bool:
    """Whether the process `process` of this machine runs; with `started`, whether it also started at that time.

    A process that has ended counts as ended even while its parent has not yet waited for it (a zombie).
    If the system does not say, the process counts as running.
    """
    try:
        os.kill(process, 0)  # signal 0 only checks that the process exists
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # the process of another user
        pass
    if (fields := _stat_fields(process)) and fields[0] in "ZX":
        return False
    now = start_time(process) if started else None
    return now is None or now == started


def _stat_fields(process: int) -> list[str]:
    """The fields of ``/proc/PID/stat`` from the third on, the state; empty if they cannot be read."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()  # the second field, the name of the program, may contain anything
