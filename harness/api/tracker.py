"""The interface of trackers, which record the losses, scores and settings of runs: TensorBoard, MLflow and others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harness.api.events import RunId, SuiteEnded, SuiteStarted


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


TrackerFactory = Callable[[Path], object]
"""Creates an observer, an object with hooks such as ``harness_step``, which may write to a folder:
`harness.trackers.run_observer.RunObserver` of a `Tracker`. Raises `UserError` if a package is missing, with the remedy.
"""
