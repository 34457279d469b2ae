"""Observers that show a run as it goes: live bars for a person, plain lines for a log, JSON for a machine."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import IO, Any

from harness import hookimpl
from harness.api.events import Preparing, RunFailed, RunFinished, RunStarted, StepLogged
from harness.cli.text_lines import failed_line, finished_line, prepared_line


def observer(runs: int, *, json_logs: bool, quiet: bool) -> AbstractContextManager[object]:
    """What to show of `runs` runs that are to be trained: a context that gives the observer to add to the host."""
    if json_logs:
        return _plainly(JsonLines())
    if quiet:
        return _plainly(Silent())
    from rich.console import Console

    console = Console(stderr=True, markup=False, highlight=False, emoji=False)
    if console.is_terminal and not console.is_dumb_terminal:
        from harness.cli.live_progress import LiveProgress

        return LiveProgress(console, runs)
    return _plainly(PlainLines(runs))


@contextmanager
def _plainly(watcher: object) -> Iterator[object]:
    yield watcher


class Silent:
    """Shows nothing but failures."""

    @hookimpl
    def harness_run_failed(self, event: RunFailed) -> None:
        print(failed_line(event), file=sys.stderr, flush=True)


class PlainLines:
    """A line on stderr when a run starts, finishes or fails, or waits for something: for logs and pipes."""

    def __init__(self, runs: int) -> None:
        self.runs = runs
        self.ended = 0

    @hookimpl
    def harness_preparing(self, event: Preparing) -> None:
        if event.ended:
            self._say(prepared_line(event))
        elif event.done == 0:
            self._say(f"making   {event.what}")

    @hookimpl
    def harness_run_started(self, event: RunStarted) -> None:
        resumed = f", resumed at {event.step}" if event.step else ""
        beside = f", {event.cohort} side by side" if event.cohort > 1 else ""
        self._say(f"started  {event.run}: {event.steps} steps{resumed}{beside}")

    @hookimpl
    def harness_run_finished(self, event: RunFinished) -> None:
        self._say(f"{finished_line(event)}{self._count(event)}")

    @hookimpl
    def harness_run_failed(self, event: RunFailed) -> None:
        self._say(f"{failed_line(event)}{self._count(event)}")

    def _count(self, event: RunFinished | RunFailed) -> str:
        if event.run.role != "student":
            return ""
        self.ended += 1
        return f" [{self.ended}/{self.runs}]"

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


class JsonLines:
    """One JSON object a line on stdout for every event: ``event``, ``time`` (ISO 8601, UTC), and its fields.

    A number that is not finite is null: JSON has no NaN.
    """

    def __init__(self, stream: IO[str] | None = None) -> None:
        self.stream = stream or sys.stdout

    @hookimpl
    def harness_preparing(self, event: Preparing) -> None:
        self.write("preparing", asdict(event))

    @hookimpl
    def harness_run_started(self, event: RunStarted) -> None:
        self.write("run_started", asdict(event))

    @hookimpl
    def harness_step(self, event: StepLogged) -> None:
        self.write("step", asdict(event))

    @hookimpl
    def harness_run_finished(self, event: RunFinished) -> None:
        self.write("run_finished", asdict(event))

    @hookimpl
    def harness_run_failed(self, event: RunFailed) -> None:
        self.write("run_failed", asdict(event))

    def write(self, event: str, fields: Mapping[str, Any]) -> None:
        line = {"event": event, "time": datetime.now(UTC).isoformat(timespec="milliseconds"), **_finite(dict(fields))}
        print(json.dumps(line, ensure_ascii=False, allow_nan=False), file=self.stream, flush=True)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
