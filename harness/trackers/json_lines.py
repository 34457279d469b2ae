"""Writes events as JSON lines: the tracker `json`, and the output of ``harness run --json-logs``."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import IO, Any

from harness import hookimpl
from harness.api.events import (
    EpochScored,
    JobsEnded,
    Preparing,
    RunFailed,
    RunFinished,
    RunStarted,
    StepLogged,
    SuiteEnded,
    SuiteStarted,
    Waiting,
)


class JsonLines:
    """Writes one JSON object per event and line, by default to stdout: ``event``, ``time`` (ISO 8601, UTC), fields.

    A number that is not finite becomes null: JSON has no NaN.
    """

    def __init__(self, stream: IO[str] | None = None) -> None:
        self.stream = stream or sys.stdout
        self._settings: Mapping[str, Mapping[str, Any]] = {}

    @hookimpl
    def harness_suite_started(self, event: SuiteStarted) -> None:
        self._settings = event.settings
        fields = asdict(replace(event, settings={}))  # each run's settings are with its start
        del fields["settings"]
        self.write("suite_started", fields)

    @hookimpl
    def harness_suite_ended(self, event: SuiteEnded) -> None:
        self.write("suite_ended", asdict(event))

    @hookimpl
    def harness_jobs_ended(self, event: JobsEnded) -> None:
        self.write("jobs_ended", asdict(event))

    @hookimpl
    def harness_preparing(self, event: Preparing) -> None:
        self.write("preparing", asdict(event))

    @hookimpl
    def harness_waiting(self, event: Waiting) -> None:
        self.write("waiting", asdict(event))

    @hookimpl
    def harness_run_started(self, event: RunStarted) -> None:
        self.write("run_started", {**asdict(event), "settings": dict(self._settings.get(event.run.key, {}))})

    @hookimpl
    def harness_step(self, event: StepLogged) -> None:
        self.write("step", asdict(event))

    @hookimpl
    def harness_epoch_scored(self, event: EpochScored) -> None:
        self.write("epoch_scored", {"run": asdict(event.run), **event.point.model_dump()})

    @hookimpl
    def harness_run_finished(self, event: RunFinished) -> None:
        self.write("run_finished", asdict(event))

    @hookimpl
    def harness_run_failed(self, event: RunFailed) -> None:
        self.write("run_failed", asdict(event))

    def write(self, event: str, fields: Mapping[str, Any]) -> None:
        line = {
            "event": event,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            **_null_not_finite(dict(fields)),
        }
        # In one call, with its end: other processes may append to the same file.
        self.stream.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
        self.stream.flush()


def _null_not_finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _null_not_finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_null_not_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
