"""Tracker `mlflow`: runs of an MLflow experiment."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunStatus, RunTag
from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH, MAX_PARAM_VAL_LENGTH, MAX_PARAMS_TAGS_PER_BATCH

from harness.api.events import RunId, SuiteEnded, SuiteStarted
from harness.api.tracker import TrackedRun
from harness.trackers.flat_settings import flat, identity

KEY = "harness.key"
"""Tag of a run with its key, by which an interrupted run is found again."""


class Names:
    """Names that MLflow accepts, distinct for distinct names: ``weights.student[1]`` is ``weights.student_1_``.

    MLflow refuses all values of a call if one name has another character than letters, digits and ``_ . - /``, or an
    empty part between slashes.
    """

    def __init__(self) -> None:
        self._accepted: dict[str, str] = {}

    def of(self, name: str) -> str:
        """The accepted name, the same on every call."""
        if name not in self._accepted:
            parts = re.sub(r"[^/\w.\- ]", "_", name)[: MAX_ENTITY_KEY_LENGTH - 10].split("/")
            accepted = "/".join(part if part.strip(".") else f"_{part}" for part in parts)
            while accepted in self._accepted.values():
                accepted += "_"
            self._accepted[name] = accepted
        return self._accepted[name]


class MLflow:
    """Records each run as a run of the experiment that has the suite's name, or of ``MLFLOW_EXPERIMENT_NAME``.

    The server is that of ``MLFLOW_TRACKING_URI``; without it, a database is created in the folder.
    """

    def __init__(self, folder: Path) -> None:
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if uri is None:
            folder.mkdir(parents=True, exist_ok=True)
            uri = f"sqlite:///{(folder / 'mlflow.db').resolve()}"
        self._client = MlflowClient(tracking_uri=uri)
        self._artifacts = (folder / "artifacts").resolve().as_uri() if uri.startswith("sqlite") else None
        self._experiment = ""
        self._ids: dict[str, str] = {}
        self._names = Names()

    def start_suite(self, suite: SuiteStarted) -> None:
        """Find the experiment of the suite, or create it."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or suite.suite
        found = self._client.get_experiment_by_name(name)
        self._experiment = found.experiment_id if found else self._client.create_experiment(name, self._artifacts)

    def start_run(self, run: TrackedRun) -> None:
        """Create the run, or continue the one with its key that is open or has not finished."""
        if run.id.key in self._ids:  # it was deferred for lack of memory, or its worker died
            return
        query = f"tags.`{KEY}` = '{run.id.key}' and attributes.status != 'FINISHED'"
        unfinished = self._client.search_runs([self._experiment], query, max_results=1) if run.step else []
        if unfinished:
            self._ids[run.id.key] = unfinished[0].info.run_id
            self._client.update_run(unfinished[0].info.run_id, status=RunStatus.to_string(RunStatus.RUNNING))
            return
        names = identity(run)
        tags = {f"harness.{name}": str(value) for name, value in {**names, "folder": run.folder}.items()}
        created = self._client.create_run(self._experiment, run_name=str(run.id), tags=tags)
        self._ids[run.id.key] = created.info.run_id
        params = [
            Param(self._names.of(name), str(value)[:MAX_PARAM_VAL_LENGTH])
            for name, value in {**names, **flat(run.settings)}.items()
        ]
        for start in range(0, len(params), MAX_PARAMS_TAGS_PER_BATCH):
            self._client.log_batch(created.info.run_id, params=params[start : start + MAX_PARAMS_TAGS_PER_BATCH])

    def log(self, run: RunId, values: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        metrics = [Metric(self._names.of(name), float(value), now, step) for name, value in values.items()]
        self._client.log_batch(self._ids[run.key], metrics=metrics)

    def end_run(self, run: RunId, scores: Mapping[str, float], error: str | None) -> None:
        run_id = self._ids.pop(run.key, None)
        if run_id is None:  # it failed before it started
            return
        now = int(time.time() * 1000)
        tags = [] if error is None else [RunTag("harness.error", error)]
        metrics = [Metric(self._names.of(f"result/{name}"), float(value), now, 0) for name, value in scores.items()]
        self._client.log_batch(run_id, metrics=metrics, tags=tags)
        status = RunStatus.FINISHED if error is None else RunStatus.FAILED
        self._client.set_terminated(run_id, RunStatus.to_string(status))

    def end_suite(self, suite: SuiteEnded) -> None:
        """Mark the runs that are still open as killed: they continue under the same run when the suite does."""
        for run_id in self._ids.values():
            self._client.set_terminated(run_id, RunStatus.to_string(RunStatus.KILLED))
        self._ids.clear()
