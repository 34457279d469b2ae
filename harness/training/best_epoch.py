"""Selects the best epoch of a run: scores the student after each epoch and keeps the best weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from harness.api.events import EpochScore
from harness.models.capture import Capture

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class BestEpoch:
    """Scores and weights of the best epoch of a stage of a run. The weights are held in host memory.

    That is the last stage, and before it each stage whose successor starts from the best epoch.

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
        self._modules: dict[str, Tensor] = {}

    @property
    def chosen(self) -> EpochScore | None:
        """The best epoch so far; the latest if all scores are NaN; None before the first."""
        scored = [point for point in self.epochs if not math.isnan(point.score)]
        latest = self.epochs[-1] if self.epochs else None
        return max(scored, key=lambda point: self._sign * point.score, default=latest)

    def score_epoch(
        self,
        student: PreTrainedModel,
        capture: Capture,
        *,
        step: int,
        epoch: float,
        modules: nn.Module | None = None,
    ) -> None:
        """Score the student at the end of an epoch, and copy its weights if they are the best so far.

        `modules` are the method's, if a further stage starts with them.
        """
        point = EpochScore(step=step, epoch=epoch, score=self.score(capture))
        self.epochs.append(point)
        self.observe(point)
        if self.chosen is point:
            self._weights = _copied(student)
            self._modules = _copied(modules) if modules is not None else {}

    def load_best_weights(self, student: PreTrainedModel, modules: nn.Module | None = None) -> None:
        """Load the weights of the best epoch into the student and `modules`, and free them here."""
        student.load_state_dict(self._weights)
        if modules is not None:
            modules.load_state_dict(self._modules)
        self.release()

    def next_stage(self) -> None:
        """Forget the scores of the stage that has ended."""
        self.epochs = []
        self.release()

    def release(self) -> None:
        """Free the weights."""
        self._weights, self._modules = {}, {}

    def state_dict(self) -> dict[str, Any]:
        epochs = [point.model_dump() for point in self.epochs]
        return {"epochs": epochs, "weights": self._weights, "modules": self._modules}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epochs = [EpochScore.model_validate(point) for point in state["epochs"]]
        self._weights = _on_cpu(state["weights"])
        self._modules = _on_cpu(state.get("modules", {}))


def _copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.to("cpu", copy=True) for name, value in module.state_dict().items()}


def _on_cpu(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.to("cpu") for name, value in weights.items()}
