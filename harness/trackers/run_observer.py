"""Passes the events of a suite to a tracker."""

from __future__ import annotations

from pathlib import Path

from harness import hookimpl
from harness.api.events import (
    EpochScored,
    RunFailed,
    RunFinished,
    RunId,
    RunStarted,
    StepLogged,
    SuiteEnded,
    SuiteStarted,
)
from harness.api.tracker import TrackedRun, Tracker


class RunObserver:
    """Translates the events of a suite to calls of a tracker."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self._suite: SuiteStarted | None = None

    @hookimpl
    def harness_suite_started(self, event: SuiteStarted) -> None:
        self._suite = event
        self.tracker.start_suite(event)

    @hookimpl
    def harness_run_started(self, event: RunStarted) -> None:
        suite = self._suite or SuiteStarted("", "", 0, 0)
        settings, folder = suite.settings.get(event.run.key, {}), Path(suite.folder) / _place(event.run)
        self.tracker.start_run(TrackedRun(event.run, suite.suite, event.steps, event.step, settings, folder))

    @hookimpl
    def harness_step(self, event: StepLogged) -> None:
        losses = {f"loss/{'total' if name == 'loss' else name}": value for name, value in event.losses.items()}
        self.tracker.log(event.run, {**losses, "lr": event.lr}, event.step)

    @hookimpl
    def harness_epoch_scored(self, event: EpochScored) -> None:
        self.tracker.log(event.run, {"epoch/score": event.point.score}, event.point.step)

    @hookimpl
    def harness_run_finished(self, event: RunFinished) -> None:
        score = {} if event.score is None else {"score": event.score}
        self.tracker.end_run(event.run, {**score, **event.metrics, "seconds": event.seconds}, None)

    @hookimpl
    def harness_run_failed(self, event: RunFailed) -> None:
        self.tracker.end_run(event.run, {}, event.error)

    @hookimpl
    def harness_suite_ended(self, event: SuiteEnded) -> None:
        self.tracker.end_suite(event)


def _place(run: RunId) -> str:
    """Where the results of a run are in the results folder."""
    if run.role == "trial":
        return "tuning"  # with the other trials of its row
    folders = {"teacher": "teachers", "general": "general"}
    return f"{folders.get(run.role, 'runs')}/{run.key}"
