"""What a run has taken: seconds of its student, its teachers and its scoring, and its cohort's teacher passes."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch

from harness.training.stopwatch import Lap, Stopwatch


class RunCost:
    """Counts from when it is made, or goes on from what a checkpoint says. `student` and `evaluation` are started by
    whoever is at work."""

    def __init__(self, device: torch.device) -> None:
        self.student, self.evaluation = Stopwatch(device), Stopwatch(device)
        self.teacher_forwards = 0
        """Forward passes of all of the cohort's teachers, as long as the run was trained: not shared among the runs."""
        self._teacher_shared, self._teacher_whole = Stopwatch(device), Stopwatch(device)
        self._started = time.perf_counter()
        self._before = dict.fromkeys(("student", "wall", "teacher", "teacher_whole", "evaluation"), 0.0)

    @property
    def student_seconds(self) -> float:
        return self._before["student"] + self.student.seconds()

    @property
    def evaluation_seconds(self) -> float:
        """Of scoring while it trains."""
        return self._before["evaluation"] + self.evaluation.seconds()

    @property
    def wall_seconds(self) -> float:
        return self._before["wall"] + time.perf_counter() - self._started

    @property
    def teacher_seconds(self) -> float:
        """Time of the teachers' forward passes that the run read, each shared evenly among those that read it."""
        return self._before["teacher"] + self._teacher_shared.seconds()

    @property
    def teacher_seconds_whole(self) -> float:
        """The same passes, not shared: what the run would have paid with its teachers to itself."""
        return self._before["teacher_whole"] + self._teacher_whole.seconds()

    def charge(self, lap: Lap, *, among: int) -> None:
        """Of a teacher, what as many runs read, this one among them."""
        self._teacher_shared.add(lap, 1 / among)
        self._teacher_whole.add(lap)

    def charge_filling(self, seconds: float, *, among: int) -> None:
        """What a teacher took before the first step, for as many runs that read what it gave."""
        self._before["teacher"] += seconds / among
        self._before["teacher_whole"] += seconds

    def settle(self) -> None:
        """Read all that is measured, when the device is waited for anyway: no event is kept any longer."""
        for watch in (self.student, self.evaluation, self._teacher_shared, self._teacher_whole):
            watch.seconds()

    def seconds(self) -> dict[str, float]:
        """All of them, for a checkpoint."""
        return {
            "student": self.student_seconds,
            "wall": self.wall_seconds,
            "teacher": self.teacher_seconds,
            "teacher_whole": self.teacher_seconds_whole,
            "evaluation": self.evaluation_seconds,
        }

    def resume(self, seconds: Mapping[str, float], teacher_forwards: int) -> None:
        """Go on from what a checkpoint says."""
        self._before |= seconds
        self.teacher_forwards = teacher_forwards
