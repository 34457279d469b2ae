"""Tracker `wandb`: runs of a Weights & Biases project."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

from harness.api.events import RunId, SuiteEnded, SuiteStarted
from harness.api.tracker import TrackedRun
from harness.trackers.flat_settings import identity

PROJECT = "kd-harness"


class WeightsAndBiases:
    """Records each run in the project ``kd-harness``, or that of ``WANDB_PROJECT``, in a group with the suite's name.

    Other settings come from the environment, as usual: ``WANDB_MODE=offline`` writes to the folder only.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._runs: dict[str, Any] = {}

    def start_suite(self, suite: SuiteStarted) -> None:
        """Do nothing: a project needs no preparation."""

    def start_run(self, run: TrackedRun) -> None:
        """Start the run; its id is its key, so that an interrupted run is continued."""
        if run.id.key in self._runs:  # it was deferred for lack of memory, or its worker died
            return
        self._runs[run.id.key] = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            group=run.suite,
            job_type=run.id.role,
            name=str(run.id),
            id=run.id.key,
            resume="allow",
            reinit="create_new",  # runs of a cohort are open at the same time
            dir=str(self.folder),
            config={**identity(run), **run.settings},
        )

    def log(self, run: RunId, values: Mapping[str, float], step: int) -> None:
        self._runs[run.key].log(dict(values), step=step)

    def end_run(self, run: RunId, scores: Mapping[str, float], error: str | None) -> None:
        tracked = self._runs.pop(run.key, None)
        if tracked is None:  # it failed before it started
            return
        tracked.summary.update(dict(scores) if error is None else {"error": error})
        tracked.finish(exit_code=0 if error is None else 1)

    def end_suite(self, suite: SuiteEnded) -> None:
        for tracked in self._runs.values():
            tracked.finish(exit_code=255)  # interrupted; it is continued under the same id
        self._runs.clear()
