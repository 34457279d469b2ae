"""The interface of trackers, which record the losses, scores and settings of runs: TensorBoard, MLflow and others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

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


@dataclass(frozen=True)
class TrackedRun:
    """A run that starts.

    Attributes:
        id: the run. Its `key` is unique; the same key again continues the same run.
        suite: name of the suite.
        steps: number of its steps.
        step: the step at which it starts: above 0, it continues from a checkpoint.
        settings: what determines its result, as plain values: method with options, shapes, data, training settings.
        folder: where its record, predictions and student will be.
    """

    id: RunId
    suite: str
    steps: int
    step: int
    settings: Mapping[str, Any]
    folder: Path


class Tracker(Protocol):
    """Records runs. One instance serves a process; several runs are open at the same time.

    Trackers are observers: an exception is logged once and harms no run. Calls come from one thread.
    """

    def start_suite(self, suite: SuiteStarted) -> None:
        """A suite starts; called once, before any run."""

    def start_run(self, run: TrackedRun) -> None:
        """A run starts, or continues from a checkpoint."""

    def log(self, run: RunId, values: Mapping[str, float], step: int) -> None:
        """Record values of a run by name after `step` steps: ``loss/total``, ``loss/<term>``, ``lr``, ``epoch/score``.

        Values may be NaN or infinite.
        """

    def end_run(self, run: RunId, scores: Mapping[str, float], error: str | None) -> None:
        """A run has ended, with its scores by name (``score``, and the metrics), or failed with `error`, one line."""

    def end_suite(self, suite: SuiteEnded) -> None:
        """The suite has ended; close all files and connections. Runs that are still open were interrupted."""


class RunObserver:
    """Translates the events of a suite to calls of a tracker.

    Raises:
        TypeError: the object lacks methods of a `Tracker`, or is a class.
    """

    def __init__(self, tracker: Tracker) -> None:
        if isinstance(tracker, type):
            raise TypeError(f"expected a tracker, got the class {tracker.__name__}")
        methods = [name for name in vars(Tracker) if not name.startswith("_")]
        if missing := [name for name in methods if not callable(getattr(tracker, name, None))]:
            raise TypeError(
                f"{type(tracker).__name__} is no harness.api.tracker.Tracker: it has no {', '.join(missing)}"
            )
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


TrackerFactory = Callable[[Path], object]
"""Creates an observer, an object with hooks such as ``harness_step``, which may write to a folder: the `RunObserver` of
a `Tracker`. Raises `harness.UserError` if a package is missing, with the remedy."""
