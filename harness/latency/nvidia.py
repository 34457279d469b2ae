"""Queries nvidia-smi: the cards of the machine, and the clocks, temperatures and processes of one of them."""

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
    """The state of a GPU: clocks in MHz, temperatures in degrees Celsius, and processes of others; None: unknown."""

    clocks: dict[str, float] = field(default_factory=dict)
    temperatures: dict[str, float] = field(default_factory=dict)
    foreign: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Card:
    """A card that the driver lists, whether or not torch can use it."""

    name: str
    driver: str


def cards() -> list[Card] | None:
    """The cards that nvidia-smi lists; None if nvidia-smi is missing or fails."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    rows = (line.rpartition(",") for line in done.stdout.splitlines())
    return [Card(name.strip(), driver.strip()) for name, comma, driver in rows if comma]


CLOCKS = {"accelerator": "clocks/sm_clock", "accelerator memory": "clocks/mem_clock"}
TEMPERATURES = {"accelerator": "temperature/gpu_temp", "accelerator memory": "temperature/memory_temp"}


def query(gpu: str) -> Gpu:
    """The state of the GPU with a UUID or index. Empty if nvidia-smi is missing, fails, or its output is unreadable."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "-q", "-x", f"--id={gpu}"], capture_output=True, text=True, check=True, timeout=30
        )
        element = ElementTree.fromstring(done.stdout).find("gpu")
    except (OSError, subprocess.SubprocessError, ElementTree.ParseError, UnicodeDecodeError):
        return Gpu()
    if element is None:
        return Gpu()
    listed = element.find("processes")
    infos = () if listed is None else listed.iterfind("process_info")
    processes = [(_text(info, "pid"), _text(info, "process_name")) for info in infos]
    return Gpu(
        clocks=dict(_numbers(element, CLOCKS)),
        temperatures=dict(_numbers(element, TEMPERATURES)),
        foreign=None if listed is None else tuple(_foreign(processes)),
    )


def _numbers(element: ElementTree.Element, paths: dict[str, str]) -> Iterator[tuple[str, float]]:
    """Parse values such as ``1980 MHz`` and ``35 C``. Values that the GPU does not report are skipped."""
    for name, path in paths.items():
        if number := re.match(r"\d+(\.\d+)?\b", _text(element, path)):
            yield name, float(number[0])


def _foreign(processes: list[tuple[str, str]]) -> Iterator[str]:
    """``name (pid)`` of the processes that are neither this one nor its descendants.

    In a container, nvidia-smi may report the process ids of the host, so this process cannot be identified. Then one
    process is assumed to be this one, preferably one with "python" in its name.
    """
    ours = {str(os.getpid()), *_children(os.getpid())}
    others = [(pid, name) for pid, name in processes if pid not in ours]
    if others and len(others) == len(processes) and not _all_exist(others):
        assumed = next((process for process in others if "python" in process[1]), others[0])
        others.remove(assumed)
    for pid, name in others:
        yield f"{Path(name).name or 'a process'} ({pid})"


def _all_exist(processes: list[tuple[str, str]]) -> bool:
    """Whether the process ids exist in this process namespace."""
    return all(Path("/proc", pid).exists() for pid, _ in processes if pid)


def _children(pid: int) -> set[str]:
    """The process ids of all descendants of a process."""
    descendants: set[str] = set()
    for path in Path("/proc", str(pid), "task").glob("*/children"):
        try:
            children = path.read_text(encoding="utf-8").split()
        except OSError:
            continue
        for child in children:
            descendants |= {child} | _children(int(child))
    return descendants


def _text(element: ElementTree.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()
