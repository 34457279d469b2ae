"""DKD: the class of the label against all others (tckd), the other classes among each other (nckd), and the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

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
)
from harness.api.lazy_torch import torch
from harness.api.losses import mean_over_distributions, task_loss

from .decoupled_kl import decoupled_kl

if TYPE_CHECKING:
    from torch import Tensor


class DKDConfig(MethodConfig):
    """Options of dkd. The defaults are those of the authors' code for CIFAR-100."""

    temperature: Annotated[float, Search(1.0, 8.0, log=True)] = Field(
        4.0, gt=0, description="temperature of the probabilities; tckd and nckd are multiplied by its square"
    )
    alpha: float = Field(1.0, ge=0, description="weight of tckd after the warm-up (authors' code: 1)")
    beta: Annotated[float, Search(0.5, 8.0, log=True)] = Field(
        8.0, ge=0, description="weight of nckd after the warm-up (authors' code: 0.5 to 8, by teacher)"
    )
    kd_warmup: float = Field(
        0.083, ge=0, le=1, description="share of the steps over which both weights rise linearly; 0: no warm-up"
    )


class DKD(Method):
    """The loss task + w (alpha * tckd + beta * nckd), w rising from 0 to 1 in the warm-up."""

    name = "dkd"
    summary = "soft targets, split into the label's class and the others (Zhao et al. 2022)"
    group = "logits"
    citation = """@inproceedings{zhao2022decoupled,
  title = {Decoupled Knowledge Distillation},
  author = {Zhao, Borui and Cui, Quan and Song, Renjie and Qiu, Yiyu and Liang, Jiajun},
  booktitle = {Proceedings of CVPR},
  year = {2022}
}"""
    Config = DKDConfig

    def check(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> Sequence[Problem]:
        if task.kind != "regression":
            return []
        return [
            Problem(
                f"dkd splits the teacher's distribution at the class of the label, and {task.name} is a regression"
                " task, which has no classes: use logit_kd for it"
            )
        ]

    @property
    def _terms(self) -> tuple[str, ...]:
        """The terms of this task: nckd needs two classes besides that of the label."""
        choices = {"qa": 3, "multilabel": 2}.get(self.task.kind, self.task.num_labels)
        return ("tckd", "nckd") if choices > 2 else ("tckd",)

    def notes(self) -> Mapping[str, Any]:
        if "nckd" in self._terms:
            return {}
        return {"nckd": "off: besides the label there is at most one other class, whose share of the others is 1"}

    def stages(self) -> Sequence[Stage]:
        return [Stage("distill", Needs(student=["logits"], teachers=[["logits"]]))]

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        (teacher,) = teachers
        temperature = self.config.temperature
        own, theirs = (_distributions(model.logits, batch) for model in (student, teacher))
        parts = decoupled_kl(own, theirs, _targets(batch), temperature)
        means = (temperature**2 * mean_over_distributions(part.reshape(len(part), -1), batch) for part in parts)
        decoupled = dict(zip(("tckd", "nckd"), means, strict=True))
        return {"task": task_loss(student.logits, batch), **{name: decoupled[name] for name in self._terms}}

    def weights(self, step: Step) -> Mapping[str, float]:
        warmup_steps = max(self.config.kd_warmup * step.steps, 1.0)
        share = min((step.index + 1) / warmup_steps, 1.0)
        weights = {"tckd": self.config.alpha, "nckd": self.config.beta}
        return {name: share * weights[name] for name in self._terms}


def _distributions(logits: Tensor, batch: Batch) -> Tensor:
    """Logits whose last axis is that of the classes; of a multilabel task [B, C, 2], yes and no of each class."""
    return torch.stack([logits, torch.zeros_like(logits)], dim=-1) if batch.kind == "multilabel" else logits


def _targets(batch: Batch) -> Tensor:
    """The index of the label in each of `_distributions`."""
    return (1 - batch.labels).long() if batch.kind == "multilabel" else batch.labels
