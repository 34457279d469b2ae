"""The models that a step hands to a method: the student, live teachers, and the average of the student's weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from harness.api.batch import Batch
from harness.api.live import StepModels
from harness.api.method import Stage
from harness.models.capture import Capture
from harness.models.live_model import AverageModel, StudentModel, TeacherModel


class WeightAverage:
    """The exponential moving average of a student's weights in one stage.

    Args:
        student: its present weights are the first average.
        decay: of the average in each step.
    """

    def __init__(self, student: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: parameter.detach().clone() for name, parameter in student.named_parameters()}

    @staticmethod
    def of_stage(stage: Stage, student: nn.Module) -> WeightAverage | None:
        """The average that the stage declares, at its first step."""
        return None if stage.average is None else WeightAverage(student, stage.average)

    def update(self, student: nn.Module) -> None:
        """Move the average towards the student's weights."""
        with torch.no_grad():
            for name, parameter in student.named_parameters():
                self.weights[name].lerp_(parameter, 1 - self.decay)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Continue from the weights of a checkpoint."""
        for name, weight in weights.items():
            self.weights[name].copy_(weight)


def step_models(
    batch: Batch,
    *,
    stage: Stage,
    student: Capture,
    teachers: Sequence[Capture] = (),
    average: WeightAverage | None = None,
) -> StepModels:
    """The models of a step in `stage`, bound to its batch, or to a part of it."""
    return StepModels(
        StudentModel(student, batch, live=stage.live),
        [TeacherModel(teacher, batch, live=True) for teacher in teachers] if stage.live else None,
        AverageModel(student, batch, average.weights) if average is not None else None,
    )
