"""Observers that print progress: live bars in a terminal, plain lines in a pipe, JSON lines for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from harness import hookimpl
from harness.api.events import Preparing, RunFailed, RunFinished, RunStarted, Waiting
from harness.api.wording import counted
from harness.cli.text_lines import failed_line, finished_line, prepared_line, waiting_line
from harness.trackers.json_lines import JsonLines


def observer(runs: int, *, json_logs: bool, quiet: bool) -> AbstractContextManager[object]:
    """The progress observer for `runs` runs to train, as a context manager: enter it, then add it to the host.

    `json_logs` takes precedence over `quiet`. Live bars need a terminal on stderr.
    """
    if json_logs:
        return _without_setup(JsonLines())
    if quiet:
        return _without_setup(Silent())
    from rich.console import Console

    console = Console(stderr=True, markup=False, highlight=False, emoji=False)
    if console.is_terminal and not console.is_dumb_terminal:
        from harness.cli.live_progress import LiveProgress

        return LiveProgress(console, runs)
    return _without_setup(PlainLines(runs))


@contextmanager
def _without_setup(progress: object) -> Iterator[object]:
    yield progress


class Silent:
    """Prints failures only, on stderr."""

    @hookimpl
    def harness_run_failed(self, event: RunFailed) -> None:
        print(failed_line(event), file=sys.stderr, flush=True)


class PlainLines:
    """Prints a line on stderr when a run starts, finishes or fails, and when preparation starts or ends."""

    def __init__(self, runs: int) -> None:
        self.runs = runs
        self.finished = 0

    @hookimpl
    def harness_preparing(self, event: Preparing) -> None:
        if event.ended:
            self._print(prepared_line(event))
        elif event.done == 0:
            self._print(f"preparing {event.what}")

    @hookimpl
    def harness_waiting(self, event: Waiting) -> None:
        self._print(waiting_line(event))

    @hookimpl
    def harness_run_started(self, event: RunStarted) -> None:
        resumed = f", resumed at step {event.step}" if event.step else ""
        cohort = f", in a cohort of {event.cohort}" if event.cohort > 1 else ""
        self._print(f"started  {event.run}: {counted(event.steps, 'step')}{resumed}{cohort}")

    @hookimpl
    def harness_run_finished(self, event: RunFinished) -> None:
        self._print(f"{finished_line(event)}{self._count(event)}")

    @hookimpl
    def harness_run_failed(self, event: RunFailed) -> None:
        self._print(f"{failed_line(event)}{self._count(event)}")

    def _count(self, event: RunFinished | RunFailed) -> str:
        if event.run.role != "student":
            return ""
        self.finished += 1
        return f" [{self.finished}/{self.runs}]"

    def _print(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)
