"""The cost of a run: seconds of student, teachers and scoring, and forward passes of the teachers."""

from __future__ import annotations

import time
from collections.abc import Mapping

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

    def read_timers(self) -> None:
        """Read all pending device events, which frees them. Call this when the device is synchronized anyway."""
        for watch in (self.student, self.evaluation, self._teacher_shared, self._teacher_whole):
            watch.seconds()

    def seconds(self) -> dict[str, float]:
        """All times, for a checkpoint."""
        return {
            "student": self.student_seconds,
            "wall": self.wall_seconds,
            "teacher": self.teacher_seconds,
            "teacher_whole": self.teacher_seconds_whole,
            "evaluation": self.evaluation_seconds,
        }

    def resume(self, seconds: Mapping[str, float], teacher_forwards: int, cohort_size: int | None) -> None:
        """Continue from the values of a checkpoint."""
        self._before |= seconds
        self.teacher_forwards = teacher_forwards
        self.cohort_size = cohort_size
