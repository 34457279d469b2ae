"""Distillation from several teachers with equal weights, and the labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from harness import Batch, LossTerms, Method, MethodConfig, ModelOutputs, Needs, Search, Stage, Step
from harness.api.lazy_torch import F, torch
from harness.api.losses import full_precision, soft_target_loss, task_loss

if TYPE_CHECKING:
    from torch import Tensor


class AverageMultiTeacherConfig(MethodConfig):
    """Options of avg_mt."""

    temperature: Annotated[float, Search(1.0, 20.0, log=True)] = Field(
        4.0, gt=0, description="temperature of the soft targets; kd is multiplied by its square"
    )
    alpha: Annotated[float, Search(0.1, 1.0)] = Field(
        0.5, ge=0, le=1, description="weight of the soft targets; the labels have weight 1 - alpha"
    )
    target: Literal["each", "mean_probs", "mean_logits"] = Field(
        "each",
        description="each: the mean of the losses with every teacher; mean_probs, mean_logits: the loss with the mean"
        " of the teachers' probabilities or logits",
    )


class AverageMultiTeacher(Method):
    """The loss alpha * kd + (1 - alpha) * task, with kd from all teachers."""

    name = "avg_mt"
    summary = "soft targets of several teachers with equal weights (an ensemble, Hinton et al. 2015)"
    group = "multi-teacher"
    citation = """@article{hinton2015distilling,
  title = {Distilling the Knowledge in a Neural Network},
  author = {Hinton, Geoffrey and Vinyals, Oriol and Dean, Jeff},
  journal = {arXiv preprint arXiv:1503.02531},
  year = {2015}
}"""
    max_teachers = None
    Config = AverageMultiTeacherConfig

    def stages(self) -> Sequence[Stage]:
        return [Stage("distill", Needs(student=["logits"], teachers=[["logits"]] * len(self.teachers)))]

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        temperature = self.config.temperature
        targets = self._targets([teacher.logits for teacher in teachers], batch)
        kd = [soft_target_loss(student.logits, target, batch, temperature) for target in targets]
        return {"kd": torch.stack(kd).mean(), "task": task_loss(student.logits, batch)}

    def weights(self, step: Step) -> Mapping[str, float]:
        return {"kd": self.config.alpha, "task": 1 - self.config.alpha}

    def _targets(self, logits: Sequence[Tensor], batch: Batch) -> Sequence[Tensor]:
        """The logits to learn from."""
        if self.config.target == "each":
            return logits
        # QA logits have the dtype's lowest value where no answer is allowed: the sum of two would be -inf.
        mean_logits = torch.stack([full_precision(z) / len(logits) for z in logits]).sum(0)
        if self.config.target == "mean_logits" or batch.kind == "regression":
            return [mean_logits]
        return [
            _logits_of_mean_probabilities(
                torch.stack([full_precision(z) for z in logits]), batch, self.config.temperature
            )
        ]


def _logits_of_mean_probabilities(logits: Tensor, batch: Batch, temperature: float) -> Tensor:
    """Logits whose softmax (multilabel: sigmoid) at this temperature is the mean of those of `logits` [M, ...]."""
    scaled = (logits / temperature).clamp(min=torch.finfo(logits.dtype).min)  # the clamp: see mean_logits
    if batch.kind == "multilabel":
        mean = _log_mean_exp(F.logsigmoid(scaled)) - _log_mean_exp(F.logsigmoid(-scaled))
    else:
        mean = _log_mean_exp(F.log_softmax(scaled, dim=-1))
    return temperature * mean


def _log_mean_exp(log_values: Tensor) -> Tensor:
    return torch.logsumexp(log_values, 0) - math.log(len(log_values))
