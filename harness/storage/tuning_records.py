"""The record of a tuning: all trials of a row of the board on one task, and the selected values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from harness.storage.frozen_model import Count, FrozenModel, Seconds
from harness.storage.records import SCHEMA_VERSION, Provenance

LEARNING_RATE = "training.lr"
"""Name of the learning rate among the values. It cannot be the name of an option, since it has a dot."""

BATCH_SIZE = "training.batch_size"
"""Name of the batch size among the values."""


class Trial(FrozenModel):
    """One run with one set of values, scored on the held-out split. Trial 0 has the defaults."""

    number: int
    values: dict[str, Any]
    score: float | None = Field(allow_inf_nan=False, description="none: the trial failed")
    error: str | None = None
    steps: Count = Field(description="0: failed before the first step, or scored as an earlier trial")
    seconds: Seconds = Field(description="training, its share of the teachers' forward passes, and scoring")


class TuningRecord(FrozenModel):
    """All trials of one row of the board, on one task with one student."""

    schema_version: int = SCHEMA_VERSION
    key: str
    task: str
    method: str
    label: str = Field(description="first row of the board that uses it")
    student: str
    seed: int
    metric: str
    higher_is_better: bool = Field(True, description="whether a higher metric is better")
    data_fingerprint: str = Field(description="fingerprint of the examples that trials were scored on")
    space: dict[str, Any] = Field(description="option -> its values, or low, high and log")
    trials: list[Trial] = Field(min_length=1)
    parts: dict[str, Any] = Field(description="parts of the key")
    provenance: Provenance

    @property
    def default(self) -> Trial:
        """The trial with the values of the row without tuning."""
        return self.trials[0]

    @property
    def chosen(self) -> Trial:
        """The best trial; the first of equal ones; the default if all failed."""
        return best(self.trials, higher_is_better=self.higher_is_better)

    @property
    def seconds(self) -> float:
        """Duration of all trials."""
        return math.fsum(trial.seconds for trial in self.trials)


def best(trials: Sequence[Trial], *, higher_is_better: bool = True) -> Trial:
    """Return the trial with the best score; the first of equal ones; the first trial if all failed."""
    sign = 1 if higher_is_better else -1
    scored = [(sign * trial.score, -trial.number, trial) for trial in trials if trial.score is not None]
    return max(scored, key=lambda entry: entry[:2])[-1] if scored else trials[0]
