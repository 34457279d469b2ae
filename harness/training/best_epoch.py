"""Selects the best epoch of a run: scores the student after each epoch and keeps the best weights."""

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
    """Scores and weights of the best epoch of a run's last stage. The weights are held in host memory.

    Of equal scores the earliest epoch is chosen. A score of NaN is never chosen; if all are NaN, the last epoch is.

    Args:
        score: scores the student on the selection split.
        higher_is_better: the direction of the score.
        observe: called with every score.
    """

    def __init__(
        self,
        score: Callable[[Capture], float],
        *,
        higher_is_better: bool = True,
        observe: Callable[[EpochScore], None] = lambda point: None,
    ) -> None:
        self.score, self._sign = score, 1 if higher_is_better else -1
        self.observe = observe
        self.epochs: list[EpochScore] = []
        self._weights: dict[str, Tensor] = {}

    @property
    def chosen(self) -> EpochScore | None:
        """The best epoch so far; the latest if all scores are NaN; None before the first."""
        scored = [point for point in self.epochs if not math.isnan(point.score)]
        latest = self.epochs[-1] if self.epochs else None
        return max(scored, key=lambda point: self._sign * point.score, default=latest)

    def score_epoch(self, student: PreTrainedModel, capture: Capture, *, step: int, epoch: float) -> None:
        """Score the student at the end of an epoch, and copy its weights if they are the best so far."""
        point = EpochScore(step=step, epoch=epoch, score=self.score(capture))
        self.epochs.append(point)
        self.observe(point)
        if self.chosen is point:
            self._weights = {name: value.to("cpu", copy=True) for name, value in student.state_dict().items()}

    def load_best_weights(self, student: PreTrainedModel) -> None:
        """Load the weights of the best epoch into the student, and free them here."""
        student.load_state_dict(self._weights)
        self.release()

    def release(self) -> None:
        """Free the weights."""
        self._weights = {}

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": [point.model_dump() for point in self.epochs], "weights": self._weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epochs = [EpochScore.model_validate(point) for point in state["epochs"]]
        self._weights = {name: value.to(torch.device("cpu")) for name, value in state["weights"].items()}
