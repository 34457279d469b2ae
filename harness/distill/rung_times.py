"""Lengths and durations of the rungs of `harness distill`, so that an interrupted command goes on as it began.

The length of a rung depends on the measured speed of the one before. Repeated commands would measure another speed:
what is trained already takes no time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.storage import atomic_writes


@dataclass
class RungTime:
    """A rung.

    Attributes:
        epochs: its length.
        seconds: its training until now, over all commands.
    """

    epochs: float
    seconds: float = 0.0


class RungTimes:
    """The rungs of a budget. `file` is JSON; if it is missing, damaged, or of another budget, it counts as empty."""

    def __init__(self, file: Path, budget: float) -> None:
        self._file = file
        self._budget = budget
        self._rungs: dict[str, dict[str, Any]] = self._read()

    def find(self, name: str, content: Mapping[str, Any]) -> RungTime | None:
        """The rung `name` if it was started with this suite; epochs do not count."""
        stored = self._rungs.get(name)
        return RungTime(**stored["time"]) if stored and stored["suite"] == _without_epochs(content) else None

    @contextmanager
    def measured(self, name: str, content: Mapping[str, Any], rung: RungTime) -> Iterator[None]:
        """Add the duration of the body to `rung`, and write the file before and after, even if the body fails."""
        self._rungs[name] = {"suite": _without_epochs(content), "time": asdict(rung)}
        self._write()
        started = time.monotonic()
        try:
            yield
        finally:
            rung.seconds += time.monotonic() - started
            self._rungs[name]["time"] = asdict(rung)
            self._write()

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            stored = json.loads(self._file.read_text(encoding="utf-8"))
            return dict(stored["rungs"]) if stored["budget"] == self._budget else {}
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return {}

    def _write(self) -> None:
        content = json.dumps({"budget": self._budget, "rungs": self._rungs}, indent=2)
        atomic_writes.write_bytes(self._file, content.encode())


def _without_epochs(content: Mapping[str, Any]) -> dict[str, Any]:
    """The suite as JSON would return it."""
    suite: dict[str, Any] = json.loads(json.dumps(content))
    del suite["training"]["epochs"]
    return suite
