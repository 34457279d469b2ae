"""Temporal ensembling: Laine and Aila 2017, arXiv 1610.02242, section 2.2."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, cast

from pydantic import Field

from harness import (
    Batch,
    LossTerms,
    Method,
    MethodConfig,
    ModelOutputs,
    ModelShape,
    Needs,
    Problem,
    Search,
    Stage,
    Step,
    TaskInfo,
    hookimpl,
)
from harness.api.device_transfer import to_device
from harness.api.lazy_torch import nn, torch
from harness.api.losses import full_precision, task_loss

if TYPE_CHECKING:
    from torch import Tensor

    from .prediction_averages import Predictions

FIXED_SIZE = ("classification", "multilabel", "regression")
"""Kinds of tasks whose predictions have the same size for every example."""


class TemporalEnsemblingConfig(MethodConfig):
    """Options of temporal_ensembling."""

    alpha: float = Field(
        0.6, ge=0, lt=1, description="momentum of the average of an example's predictions (paper: 0.6)"
    )
    max_weight: Annotated[float, Search(1.0, 100.0, log=True)] = Field(
        30.0, ge=0, description="weight of the ensemble loss after the ramp-up (paper: 30 if all examples have labels)"
    )
    ramp_up: float = Field(1.0, gt=0, le=1, description="share of the training over which the weight rises")


class TemporalEnsembling(Method):
    """The loss task + w(t) * ensemble; no teacher: an example's target is the average of its past predictions."""

    name = "temporal_ensembling"
    summary = "the average of an example's past predictions as target, without a teacher (Laine and Aila 2017)"
    group = "self-distillation"
    citation = """@inproceedings{laine2017temporal,
  title = {Temporal Ensembling for Semi-Supervised Learning},
  author = {Laine, Samuli and Aila, Timo},
  booktitle = {International Conference on Learning Representations},
  year = {2017}
}"""
    min_teachers = max_teachers = 0
    Config = TemporalEnsemblingConfig

    def check(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> Sequence[Problem]:
        if task.kind in FIXED_SIZE:
            return ()
        reason = f"{task.name} is {task.kind}, whose predictions are as many as an example's tokens"
        return [Problem(f"temporal_ensembling averages predictions of a fixed size for each example: {reason}")]

    def stages(self) -> Sequence[Stage]:
        return [Stage("finetune", Needs(student=["logits"]))]

    def modules(self, student: ModelShape, teachers: Sequence[ModelShape]) -> nn.ModuleDict:
        from .prediction_averages import Predictions

        return nn.ModuleDict({"predictions": Predictions(self.task.examples, self.task.num_labels)})

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        predictions = _predictions(student.logits, batch)
        rows = to_device(torch.tensor(batch.rows), predictions.device)
        targets, seen = _stored(step).targets(rows, self.config.alpha)
        of_example = ((predictions - targets) ** 2).mean(-1).masked_fill(~seen, 0)
        step.scratch.setdefault("predictions", []).append((rows, predictions.detach()))
        return {"task": task_loss(student.logits, batch), "ensemble": of_example.mean()}

    def weights(self, step: Step) -> Mapping[str, float]:
        risen = min(1.0, step.progress / self.config.ramp_up)
        return {"ensemble": self.config.max_weight * math.exp(-5 * (1 - risen) ** 2)}

    def after_step(self, step: Step) -> None:
        """Add the step's predictions to the averages."""
        for rows, predictions in step.scratch["predictions"]:
            _stored(step).add(rows, predictions, self.config.alpha)


def _predictions(logits: Tensor, batch: Batch) -> Tensor:
    """Probabilities of the classes [B, C], for multilabel of yes; for regression the predicted value [B, 1]."""
    logits = full_precision(logits)
    if batch.kind == "regression":
        return logits
    return logits.sigmoid() if batch.kind == "multilabel" else logits.softmax(-1)


def _stored(step: Step) -> Predictions:
    return cast("Predictions", step.modules["predictions"])


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(TemporalEnsembling)
