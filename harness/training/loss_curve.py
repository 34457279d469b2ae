"""The loss curve of a run: the mean losses of every few steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from harness.api.events import LossPoint
from harness.training.loss_passes import LoggedValue
from harness.training.metrics_log import MetricsLog
from harness.training.stage_progress import StageProgress

LOG_EVERY = 50
"""Default number of steps between two points."""

CURVE_POINTS = 40
"""Least number of points of a short run: as many as a plot can show."""


class LossCurve:
    """The points of the curve, and the values that were logged after the last one.

    Args:
        steps: those of the run.
        log_every: number of steps between two points; None: see `LOG_EVERY` and `CURVE_POINTS`.
    """

    def __init__(self, steps: int, log_every: int | None) -> None:
        self.points: list[LossPoint] = []
        self.log = MetricsLog()
        self._every = log_every or min(LOG_EVERY, max(1, steps // CURVE_POINTS))

    def add(self, logged: Iterable[LoggedValue]) -> None:
        """Add the values of a step. Does not wait for the device."""
        for name, value, weight in logged:
            self.log.add(name, value, weight)

    def add_point_if_due(self, progress: StageProgress) -> LossPoint | None:
        """Add and return the point of the current step if it is due, as it is at the end of each stage, too.

        Waits for the device if so.

        Raises:
            NonFiniteLoss: a mean is not finite.
        """
        step = progress.position + 1
        if step % self._every and not progress.at_last_step:
            return None
        point = LossPoint(stage=progress.stage.name, step=step, lr=progress.learning_rate(), terms=self.log.read())
        self.points.append(point)
        return point

    def state_dict(self) -> dict[str, Any]:
        return {"points": [point.model_dump() for point in self.points], "log": self.log.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        self.points = [LossPoint.model_validate(point) for point in state["points"]]
        self.log.load_state_dict(state["log"], device)
