"""The ends of epochs and stages of a run: the student is scored, and its best epoch is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from harness.api.method import Stage
from harness.models.capture import Capture
from harness.training.best_epoch import BestEpoch
from harness.training.micro_batching import InsufficientMemory
from harness.training.stage_progress import StageProgress
from harness.training.stopwatch import Stopwatch
from harness.training.trained_parameters import TrainedParameters


class StageEnd:
    """Scores the student at the end of each epoch of the last stage, and of one whose best epoch starts the next.

    Other stages are not scored: they may leave the head untrained.

    Args:
        best: selects the best epoch; None: no stage is scored, and the weights of its last step are its result.
        capture: of the student.
        evaluation: measures the time of scoring.

    Attributes:
        starts: where each stage that starts from the best epoch has started, by stage name. For the record.
    """

    def __init__(
        self,
        best: BestEpoch | None,
        progress: StageProgress,
        trained: TrainedParameters,
        capture: Capture,
        evaluation: Stopwatch,
    ) -> None:
        self.best = best
        self.starts: dict[str, dict[str, Any]] = {}
        self._progress, self._trained, self._capture, self._evaluation = progress, trained, capture, evaluation

    def end_epoch(self) -> None:
        """Score the student if an epoch has ended that can be selected.

        Raises:
            RuntimeError: memory does not suffice. It is no `InsufficientMemory`: the step cannot be taken again.
        """
        following = self._progress.following
        if self.best is None or (following is not None and following.starts_from != "best"):
            return
        if self._progress.epoch_ended:
            with self._evaluation.running():
                self._score(self.best, modules=None if following is None else self._trained.modules)

    def _score(self, best: BestEpoch, modules: nn.ModuleDict | None) -> None:
        progress = self._progress
        try:
            best.score_epoch(
                self._trained.student, self._capture, step=progress.position, epoch=progress.epoch, modules=modules
            )
        except InsufficientMemory as error:
            raise RuntimeError(
                "memory does not suffice for one example when the epoch is scored: lower training.max_length, or leave"
                f" more memory of the device free ({error})"
            ) from None

    def end_stage(self) -> None:
        """Load the best weights if they are the result of the run or the start of the next stage."""
        following = self._progress.following
        if following is None:
            if self.best is not None:
                self.best.load_best_weights(self._trained.student)
        elif following.starts_from == "best":
            self._load_best_epoch(following)

    def _load_best_epoch(self, following: Stage) -> None:
        """Load the stage's best epoch, for the next stage, and note it for the record."""
        start: dict[str, Any] = {"stage": self._progress.stage.name, "step": self._progress.position}
        if self.best is None:
            start["reason"] = "the last step: the suite does not select the best epoch"
        elif (chosen := self.best.chosen) is not None:
            start |= {"step": chosen.step, "epoch": chosen.epoch, "score": chosen.score}
            self.best.load_best_weights(self._trained.student, self._trained.modules)
            self.best.next_stage()
        self.starts[following.name] = start

    def release(self) -> None:
        """Free the weights of the best epoch."""
        if self.best is not None:
            self.best.release()

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best.state_dict() if self.best is not None else None, "starts": self.starts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self.best is not None:
            self.best.load_state_dict(state["best"])
        self.starts = dict(state["starts"])
