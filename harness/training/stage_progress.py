"""Where a run stands: its stages, their lengths, the current stage and step, and the learning rate of the step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from harness.api.method import Stage
from harness.config.method_schema import StageOverride
from harness.config.training_schema import TrainingSpec
from harness.training.schedule import NO_STAGES, learning_rate, stage_steps


class StageProgress:
    """The position of a run in its stages.

    Args:
        stages: those of the method.
        training: the settings of the suite.
        overrides: the suite's settings for single stages, by stage name.
        batches_per_epoch: converts epochs to steps.
        own_batches_per_epoch: the same for stages with a batch size of their own, by stage name.

    Attributes:
        lengths: steps of each stage.
        number: the index of the current stage.
        step: number of steps done in the current stage.
    """

    def __init__(
        self,
        stages: Iterable[Stage],
        training: TrainingSpec,
        overrides: Mapping[str, StageOverride],
        batches_per_epoch: int,
        own_batches_per_epoch: Mapping[str, int] = NO_STAGES,
    ) -> None:
        self.stages = tuple(stages)
        self.lengths = stage_steps(
            self.stages,
            overrides,
            epochs=training.epochs,
            batches_per_epoch=batches_per_epoch,
            own=own_batches_per_epoch,
        )
        self.number = 0
        self.step = 0
        self._training, self._overrides = training, overrides
        self._run_batches_per_epoch, self._own_batches_per_epoch = batches_per_epoch, own_batches_per_epoch

    @property
    def stage(self) -> Stage:
        """The current stage."""
        return self.stages[self.number]

    @property
    def following(self) -> Stage | None:
        """The stage after the current one."""
        return self.stages[self.number + 1] if self.number + 1 < len(self.stages) else None

    @property
    def length(self) -> int:
        """Steps of the current stage."""
        return self.lengths[self.number]

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(self.lengths)

    @property
    def position(self) -> int:
        """Number of steps done in all stages."""
        return sum(self.lengths[: self.number]) + self.step

    @property
    def _batches_per_epoch(self) -> int:
        """Steps of an epoch of the current stage."""
        return self._own_batches_per_epoch.get(self.stage.name, self._run_batches_per_epoch)

    @property
    def epoch(self) -> float:
        """Epochs done in the current stage."""
        return self.step / self._batches_per_epoch

    @property
    def epochs(self) -> float:
        """Epochs of the current stage."""
        return self.length / self._batches_per_epoch

    @property
    def stage_ended(self) -> bool:
        """Whether all steps of the current stage are done."""
        return self.step == self.length

    @property
    def epoch_ended(self) -> bool:
        """Whether the last step was that of an epoch, or of the stage."""
        return self.stage_ended or self.step % self._batches_per_epoch == 0

    @property
    def at_last_step(self) -> bool:
        """Whether the current step is the last one of its stage."""
        return self.step + 1 == self.length

    def learning_rate(self) -> float:
        """Learning rate of the current step: the suite's setting for the stage, else the stage's, else `training`'s."""
        sources = (self._overrides.get(self.stage.name), self.stage, self._training)

        def first(name: str) -> Any:
            return next(value for source in sources if (value := getattr(source, name, None)) is not None)

        return learning_rate(first("lr"), self.step, self.length, first("warmup_ratio"), first("schedule"))

    def advance(self) -> None:
        """Count a step of the current stage."""
        self.step += 1

    def enter(self, number: int) -> None:
        """Go to the first step of a stage."""
        self.number, self.step = number, 0

    def state_dict(self) -> dict[str, int]:
        return {"number": self.number, "step": self.step}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.number, self.step = state["number"], state["step"]
