"""The record of a tuning: what was tried for a row of the board on one task, and what was chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from harness.storage.frozen_model import FrozenModel
from harness.storage.records import SCHEMA_VERSION, Provenance

LEARNING_RATE = "training.lr"
"""What the learning rate is called among the values; no option of a method has a dot in its name."""


class Trial(FrozenModel):
    """One run with one choice of values, scored on the held-out part. Number 0 has the defaults."""

    number: int
    values: dict[str, Any]
    score: float | None = Field(description="none: it failed")
    error: str | None = None
    steps: int
    seconds: float = Field(description="its own steps, its share of its teachers' passes, and its scoring")


class TuningRecord(FrozenModel):
    """All trials of one row of the board, on one task with one student."""

    schema_version: int = SCHEMA_VERSION
    key: str
    task: str
    method: str
    label: str = Field(description="the first row of the board that asked for it")
    student: str
    seed: int
    metric: str
    higher_is_better: bool = Field(True, description="of the metric")
    data_fingerprint: str = Field(description="of the examples that the trials were scored on")
    space: dict[str, Any] = Field(description="option -> the values, or low, high and log, that it was tuned over")
    trials: list[Trial]
    parts: dict[str, Any] = Field(description="what the key is a hash of")
    provenance: Provenance

    @property
    def default(self) -> Trial:
        """With the values that the row has without tuning."""
        return self.trials[0]

    @property
    def chosen(self) -> Trial:
        """The best; the first of those that are; the default if all failed."""
        return best(self.trials, higher_is_better=self.higher_is_better)

    @property
    def seconds(self) -> float:
        return math.fsum(trial.seconds for trial in self.trials)


def best(trials: Sequence[Trial], *, higher_is_better: bool = True) -> Trial:
    """That with the best score, and of several the first; the first trial if there is none."""
    sign = 1 if higher_is_better else -1
    scored = [(sign * trial.score, -trial.number, trial) for trial in trials if trial.score is not None]
    return max(scored)[-1] if scored else trials[0]
