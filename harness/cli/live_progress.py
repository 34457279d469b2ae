"""Progress bars in a terminal: one for each active run, and one for all runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from harness import hookimpl
from harness.api.events import Preparing, RunFailed, RunFinished, RunId, RunStarted, StepLogged, Waiting
from harness.cli.text_lines import failed_line, finished_line, prepared_line, waiting_line
from harness.reporting.formatting import duration

SHOWN_TERMS = 3
"""Loss terms shown after the total; more do not fit in a line."""


class LiveProgress:
    """Observer with progress bars. Prints a line above the bars when a run finishes or fails."""

    def __init__(self, console: Console, runs: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[count]}", markup=False, justify="right", table_column=Column(no_wrap=True)),
            RemainingColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[losses]}", markup=False, table_column=Column(ratio=1, no_wrap=True)),
            console=console,
            expand=True,
        )
        self._runs = runs
        self._finished = 0
        self._active: dict[RunId, TaskID] = {}
        self._preparing: dict[str, TaskID] = {}
        self._overall = self._add("all runs", total=1.0, count=f"0/{runs}")

    def __enter__(self) -> LiveProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    @hookimpl
    def harness_preparing(self, event: Preparing) -> None:
        count = f"{event.done}/{event.total}" if event.total is not None else f"{event.done} {event.unit}"
        if event.what not in self._preparing:
            self._preparing[event.what] = self._add(event.what, event.total, count)
        self._progress.update(self._preparing[event.what], completed=event.done, count=count)
        if event.ended:
            self._progress.remove_task(self._preparing.pop(event.what))
            self._progress.console.print(Text(prepared_line(event), style="dim"))

    @hookimpl
    def harness_waiting(self, event: Waiting) -> None:
        self._progress.console.print(Text(waiting_line(event), style="dim"))

    @hookimpl
    def harness_run_started(self, event: RunStarted) -> None:
        self._bar(event.run, event.step, event.steps)

    @hookimpl
    def harness_step(self, event: StepLogged) -> None:
        task = self._bar(event.run, event.step, event.steps)
        count = f"{event.step}/{event.steps}"
        self._progress.update(task, completed=event.step, total=event.steps, count=count, losses=_losses(event))
        self._advance()

    @hookimpl
    def harness_run_finished(self, event: RunFinished) -> None:
        self._end(event.run, finished_line(event), style="green")

    @hookimpl
    def harness_run_failed(self, event: RunFailed) -> None:
        self._end(event.run, failed_line(event), style="red")

    def _bar(self, run: RunId, step: int, steps: int) -> TaskID:
        """The bar of the run; adds one if the run has none."""
        if run not in self._active:
            self._active[run] = self._add(str(run), steps, f"{step}/{steps}", start=step)
        return self._active[run]

    def _add(self, title: str, total: float | None, count: str, start: int = 0) -> TaskID:
        return self._progress.add_task(
            title, total=total, completed=start, count=count, losses="", started=time.monotonic(), first=start
        )

    def _end(self, run: RunId, line: str, style: str) -> None:
        task = self._active.pop(run, None)
        if task is not None:
            self._progress.remove_task(task)
        self._finished += run.role == "student"
        self._progress.console.print(Text(line, style=style))
        self._advance()

    def _advance(self) -> None:
        """Update the bar of all runs: a run that has ended counts as 1, an active run as its share of steps."""
        students = {task for run, task in self._active.items() if run.role == "student"}
        active = sum(task.percentage / 100 for task in self._progress.tasks if task.id in students)
        share = min(1.0, (self._finished + active) / max(1, self._runs))
        self._progress.update(self._overall, completed=share, count=f"{self._finished}/{self._runs}")


class RemainingColumn(ProgressColumn):
    """Time left, from the mean speed since the run started.

    rich's own column uses the last seconds only, in which a run that logs rarely has no steps.
    """

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        done, total = task.completed - task.fields["first"], task.total
        if done <= 0 or total is None:
            return Text("…", style="dim")
        elapsed = time.monotonic() - task.fields["started"]
        if task.fields.get("completed_at_update") != task.completed:
            # The estimate changes with each report only; between reports it counts down.
            task.fields["completed_at_update"] = task.completed
            task.fields["end"] = elapsed / done * (total - task.completed) + elapsed
        return Text(duration(max(0.0, task.fields["end"] - elapsed)), style="cyan")


def _losses(event: StepLogged) -> str:
    terms: Mapping[str, float] = event.losses
    total = f"loss {terms['loss']:.3f}" if "loss" in terms else ""
    rest = [f"{name} {value:.3f}" for name, value in terms.items() if name != "loss"]
    return "  ".join([total, *rest[:SHOWN_TERMS], *(["…"] if len(rest) > SHOWN_TERMS else [])]).strip()
