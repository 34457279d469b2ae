"""What a method is given at a training step, `Step`, and what its losses return, `LossTerms`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.api.lazy_torch import nn
from harness.api.live import LiveModel, StepModels
from harness.api.stages import Stage

if TYPE_CHECKING:  # takes seconds to import
    import torch
    from torch import Tensor

LossTerms = Mapping[str, "Tensor"]
"""Unweighted loss terms by name, scalars."""


@dataclass
class Step:
    """The state of a run at one training step.

    Attributes:
        stage: the current stage.
        index: the step in the stage, from 0.
        steps: the number of steps of the stage.
        epoch: epochs since the start of the stage.
        epochs: the length of the stage in epochs.
    """

    stage: Stage
    index: int
    steps: int
    epoch: float
    epochs: float
    modules: nn.ModuleDict
    """The modules that `Method.modules` returned, which the host trains."""
    generator: torch.Generator
    """The run's random generator, on the CPU; stored in checkpoints, and independent of other runs of the cohort."""
    log: Callable[[str, float | Tensor], None] = field(default=lambda name, value: None)
    """Log a value in addition to the losses; its name must differ from the terms and from ``loss``."""
    scratch: dict[str, Any] = field(default_factory=dict)
    """Values of this step that the calls of `Method.losses`, one for each part of the batch, leave for each other and
    for `Method.after_step`. Empty at the start of every step, and of every repeated attempt of a step. Detach tensors
    that are stored here, or their graphs stay in memory until the end of the step."""
    models: StepModels = field(default_factory=StepModels)
    """Used by `student`, `teachers` and `average`."""

    @property
    def progress(self) -> float:
        """The share of the stage's steps that are done: index / steps, from 0 to below 1."""
        return self.index / self.steps

    @property
    def student(self) -> LiveModel:
        """The student, for further forward passes with new dropout and gradients."""
        if self.models.student is None:
            raise RuntimeError("this step has no student for another forward pass")
        return self.models.student

    @property
    def teachers(self) -> Sequence[LiveModel]:
        """The teachers, in the order of the method's teachers. Raises `RuntimeError` in a stage that is not live."""
        if self.models.teachers is None:
            raise RuntimeError(
                f"stage {self.stage.name!r} does not run its teachers; declare Stage({self.stage.name!r}, live=True)"
            )
        return self.models.teachers

    @property
    def average(self) -> LiveModel:
        """The student with the moving average of its weights. Raises `RuntimeError` if the stage has none."""
        if self.models.average is None:
            raise RuntimeError(
                f"stage {self.stage.name!r} keeps no average; declare Stage({self.stage.name!r}, average=0.999)"
            )
        return self.models.average
