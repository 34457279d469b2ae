"""The best epoch of a run: its student is scored as each ends, and has the weights of the best at last."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from harness.api.events import EpochScore
from harness.models.capture import Capture


class BestEpoch:
    """Of a run's last stage. Of equal scores the earliest counts, and one that is not a number never does; where none
    is, the student stays as it was at last.

    `score` puts the student to the examples to choose on. The best weights so far are kept in the machine's memory,
    never the device's.
    """

    def __init__(self, score: Callable[[Capture], float], *, higher_is_better: bool = True) -> None:
        self.score, self._sign = score, 1 if higher_is_better else -1
        self.epochs: list[EpochScore] = []
        self._weights: dict[str, Tensor] = {}

    @property
    def chosen(self) -> EpochScore | None:
        """The best so far; the latest, if no score was a number; None before the first."""
        numbers = [point for point in self.epochs if not math.isnan(point.score)]
        latest = self.epochs[-1] if self.epochs else None
        return max(numbers, key=lambda point: self._sign * point.score, default=latest)

    def look(self, student: PreTrainedModel, capture: Capture, *, step: int, epoch: float) -> None:
        """Score the student, at the end of an epoch."""
        point = EpochScore(step=step, epoch=epoch, score=self.score(capture))
        self.epochs.append(point)
        if self.chosen is point:
            self._weights = {name: value.to("cpu", copy=True) for name, value in student.state_dict().items()}

    def settle(self, student: PreTrainedModel) -> None:
        """Give the student the weights of the best epoch."""
        student.load_state_dict(self._weights)
        self.release()

    def release(self) -> None:
        """Give up the memory."""
        self._weights = {}

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": [point.model_dump() for point in self.epochs], "weights": self._weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epochs = [EpochScore.model_validate(point) for point in state["epochs"]]
        self._weights = {name: value.to(torch.device("cpu")) for name, value in state["weights"].items()}
