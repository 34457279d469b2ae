"""The cost of a run: seconds of student, teachers and scoring, forward passes of the teachers, and tokens."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch

from harness.training.stopwatch import Lap, Stopwatch


class RunCost:
    """Measures from construction on, or continues from a checkpoint. All times are in seconds.

    `student` and `evaluation` are stopwatches that the training step and the scoring start.
    """

    def __init__(self, device: torch.device) -> None:
        self.student, self.evaluation = Stopwatch(device), Stopwatch(device)
        self.teacher_forwards = 0
        """Forward passes of teachers that the run used; not divided by the number of runs."""
        self.cohort_size: int | None = None
        """Number of runs in its first cohort; None before it starts. After an interruption it can be smaller."""
        self.tokens = 0
        """Real tokens that the student has processed."""
        self.padded_tokens = 0
        """Tokens that the student has processed, with padding."""
        self._teacher_shared, self._teacher_whole = Stopwatch(device), Stopwatch(device)
        self._started = time.perf_counter()
        self._before = dict.fromkeys(("student", "wall", "teacher", "teacher_whole", "evaluation"), 0.0)

    @property
    def student_seconds(self) -> float:
        return self._before["student"] + self.student.seconds()

    @property
    def evaluation_seconds(self) -> float:
        """Time of scoring epochs during training."""
        return self._before["evaluation"] + self.evaluation.seconds()

    @property
    def wall_seconds(self) -> float:
        return self._before["wall"] + time.perf_counter() - self._started

    @property
    def teacher_seconds(self) -> float:
        """Time of the teachers' forward passes that the run used, each divided by the number of runs that used it."""
        return self._before["teacher"] + self._teacher_shared.seconds()

    @property
    def teacher_seconds_whole(self) -> float:
        """Time of the same passes, undivided: what the run would have cost without a cohort."""
        return self._before["teacher_whole"] + self._teacher_whole.seconds()

    @property
    def padding(self) -> float | None:
        """Share of padding in the tokens; None before the first step."""
        return 1 - self.tokens / self.padded_tokens if self.padded_tokens else None

    def charge(self, lap: Lap, *, passes: int, among: int) -> None:
        """Add a teacher's forward passes that `among` runs used, this one included."""
        self._teacher_shared.add(lap, 1 / among)
        self._teacher_whole.add(lap)
        self.teacher_forwards += passes

    def charge_filling(self, seconds: float, *, passes: int, among: int) -> None:
        """Add the cost of computing cached teacher outputs, which `among` runs use."""
        self._before["teacher"] += seconds / among
        self._before["teacher_whole"] += seconds
        self.teacher_forwards += passes

    def add_tokens(self, real: int, padded: int) -> None:
        """Add the tokens of a step, without and with padding."""
        self.tokens += real
        self.padded_tokens += padded

    def read_timers(self) -> None:
        """Read all pending device events, which frees them. Call this when the device is synchronized anyway."""
        for watch in (self.student, self.evaluation, self._teacher_shared, self._teacher_whole):
            watch.seconds()

    def state_dict(self) -> dict[str, Any]:
        return {
            "seconds": {
                "student": self.student_seconds,
                "wall": self.wall_seconds,
                "teacher": self.teacher_seconds,
                "teacher_whole": self.teacher_seconds_whole,
                "evaluation": self.evaluation_seconds,
            },
            "teacher_forwards": self.teacher_forwards,
            "cohort_size": self.cohort_size,
            "tokens": self.tokens,
            "padded_tokens": self.padded_tokens,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._before |= state["seconds"]
        self.teacher_forwards = state["teacher_forwards"]
        self.cohort_size = state["cohort_size"]
        self.tokens, self.padded_tokens = state["tokens"], state["padded_tokens"]
