"""What nvidia-smi says of a GPU: its clocks, its temperature, and whose processes are on it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree


@dataclass(frozen=True)
class Gpu:
    """A GPU at a moment: MHz and degrees Celsius by name, and the processes on it that are not ours."""

    clocks: dict[str, float] = field(default_factory=dict)
    temperatures: dict[str, float] = field(default_factory=dict)
    foreign: tuple[str, ...] = ()


CLOCKS = {"accelerator": "clocks/sm_clock", "accelerator memory": "clocks/mem_clock"}
TEMPERATURES = {"accelerator": "temperature/gpu_temp", "accelerator memory": "temperature/memory_temp"}


def query(gpu: str) -> Gpu:
    """Ask for the GPU with that UUID or number, once. Nothing is known where nvidia-smi is not there, fails, or says
    what cannot be read."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "-q", "-x", f"--id={gpu}"], capture_output=True, text=True, check=True, timeout=30
        )
        found = ElementTree.fromstring(done.stdout).find("gpu")
    except (OSError, subprocess.SubprocessError, ElementTree.ParseError, UnicodeDecodeError):
        return Gpu()
    if found is None:
        return Gpu()
    processes = [(_text(each, "pid"), _text(each, "process_name")) for each in found.iterfind("processes/process_info")]
    return Gpu(
        clocks=dict(_numbers(found, CLOCKS)),
        temperatures=dict(_numbers(found, TEMPERATURES)),
        foreign=tuple(_foreign(processes)),
    )


def _numbers(found: ElementTree.Element, places: dict[str, str]) -> Iterator[tuple[str, float]]:
    """``1980 MHz`` and ``35 C`` as numbers, without those that the GPU does not tell."""
    for name, place in places.items():
        if number := re.match(r"\d+(\.\d+)?\b", _text(found, place)):
            yield name, float(number[0])


def _foreign(processes: list[tuple[str, str]]) -> Iterator[str]:
    """Processes that are neither this one nor begun by it.

    In a container nvidia-smi may number processes as the host does, so that this one is not found among them: then one
    of them is taken for it, one that has its name if there is such a one.
    """
    ours = {str(os.getpid()), *_children(os.getpid())}
    others = [(pid, name) for pid, name in processes if pid not in ours]
    if others and len(others) == len(processes) and not _is_here(others):
        own = next((each for each in others if "python" in each[1]), others[0])
        others.remove(own)
    for pid, name in others:
        yield f"{Path(name).name or 'a process'} ({pid})"


def _is_here(processes: list[tuple[str, str]]) -> bool:
    """Whether all of them are processes of this system, by their numbers."""
    return all(Path("/proc", pid).exists() for pid, _ in processes if pid)


def _children(pid: int) -> set[str]:
    """Of a process, and theirs."""
    found: set[str] = set()
    for path in Path("/proc", str(pid), "task").glob("*/children"):
        try:
            own = path.read_text(encoding="utf-8").split()
        except OSError:
            continue
        for child in own:
            found |= {child} | _children(int(child))
    return found


def _text(found: ElementTree.Element, place: str) -> str:
    return (found.findtext(place) or "").strip()
