"""Tracker `tensorboard`: event files that TensorBoard shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from harness.api.events import RunId, SuiteEnded, SuiteStarted
from harness.api.tracker import TrackedRun
from harness.trackers.flat_settings import flat, identity


class TensorBoard:
    """Writes one folder of event files for each run: ``<folder>/<task>/<label>/<student>/<seed>-<key>``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writers: dict[str, Any] = {}
        self._runs: dict[str, TrackedRun] = {}

    def start_suite(self, suite: SuiteStarted) -> None:
        """Do nothing: runs have files of their own."""

    def start_run(self, run: TrackedRun) -> None:
        """Open the run's files. Points after the step of its checkpoint, of an interrupted execution, are hidden."""
        id_ = run.id
        if id_.key in self._writers:  # it was deferred for lack of memory, or its worker died
            self._writers.pop(id_.key).close()
        number = f"{id_.seed}" if id_.trial is None else f"trial{id_.trial}"
        path = self.folder / id_.task / id_.label / (id_.student or id_.role) / f"{number}-{id_.key[:8]}"
        create: Any = SummaryWriter  # has no types
        writer = create(str(path), purge_step=run.step or None)
        lines = [f"- {name}: {value}" for name, value in {**identity(run), **flat(run.settings)}.items()]
        writer.add_text("settings", "\n".join(lines), run.step)
        self._writers[id_.key], self._runs[id_.key] = writer, run

    def log(self, run: RunId, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writers[run.key].add_scalar(name, value, step)

    def end_run(self, run: RunId, scores: Mapping[str, float], error: str | None) -> None:
        """Write the scores at the last step, and close the run's files."""
        writer = self._writers.pop(run.key, None)
        if writer is None:  # it failed before it started
            return
        steps = self._runs.pop(run.key).steps
        for name, value in scores.items():
            writer.add_scalar(f"result/{name}", value, steps)
        if error is not None:
            writer.add_text("error", error, steps)
        writer.close()

    def end_suite(self, suite: SuiteEnded) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
