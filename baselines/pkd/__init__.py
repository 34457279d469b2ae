"""Patient knowledge distillation: Sun et al. 2019, arXiv 1908.09355, section 3."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from harness import (
    Batch,
    Choices,
    LossTerms,
    Method,
    MethodConfig,
    ModelOutputs,
    ModelShape,
    Needs,
    Problem,
    Stage,
    Step,
    TaskInfo,
    hookimpl,
    layers,
)
from harness.api import layer_mapping
from harness.api.lazy_torch import torch
from harness.api.losses import full_precision, soft_target_loss, task_loss, unit_vectors

if TYPE_CHECKING:
    from torch import Tensor


class PKDConfig(MethodConfig):
    """Options of pkd. The paper tunes temperature, alpha and beta for each task; the defaults are from its grids."""

    temperature: Annotated[float, Choices(5.0, 10.0, 20.0)] = Field(
        5.0, gt=0, description="temperature of the soft targets (paper: 5, 10, 20)"
    )
    alpha: Annotated[float, Choices(0.2, 0.5, 0.7)] = Field(
        0.5,
        ge=0,
        le=1,
        description="weight of the soft targets; the labels have weight 1 - alpha (paper: 0.2, 0.5, 0.7)",
    )
    beta: Annotated[float, Choices(10.0, 100.0, 500.0, 1000.0)] = Field(
        10.0, ge=0, description="weight of the patience loss, scaled as beta_scale says (paper: 10, 100, 500, 1000)"
    )
    beta_scale: Literal["code", "paper"] = Field(
        "code",
        description="code: patience has weight beta / (compared layers * hidden size), as in the authors' mean squared"
        " error; paper: beta, as in equation 9",
    )
    kd_scale: Literal["paper", "code"] = Field(
        "paper",
        description="code: kd of a classification task is divided by the number of classes, as in the authors'"
        " element-wise mean",
    )
    normalize: bool = Field(
        True, description="compare [CLS] vectors of length 1 (equation 7); false: without normalization"
    )
    strategy: Literal["skip", "last"] = Field(
        "skip", description="student layers learn from every k-th teacher layer, or from the last ones"
    )


class PKD(Method):
    """The loss (1 - alpha) * task + alpha * kd + beta * patience (equation 9), beta scaled as `beta_scale` says."""

    name = "pkd"
    version = 2
    summary = "soft targets, and the [CLS] of hidden layers (Sun et al. 2019)"
    group = "hidden states"
    citation = """@inproceedings{sun2019patient,
  title = {Patient Knowledge Distillation for {BERT} Model Compression},
  author = {Sun, Siqi and Cheng, Yu and Gan, Zhe and Liu, Jingjing},
  booktitle = {Proceedings of EMNLP-IJCNLP},
  year = {2019}
}"""
    Config = PKDConfig

    def check(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> Sequence[Problem]:
        (teacher,) = teachers
        problems = []
        if student.hidden != teacher.hidden:
            widths = f"{student.name} has {student.hidden}, {teacher.name} has {teacher.hidden}"
            problems.append(Problem(f"pkd compares hidden states, which needs equal widths: {widths}"))
        counts = f"{student.name} has {student.layers}, {teacher.name} has {teacher.layers}"
        if student.layers < 2:
            problems.append(
                Problem(f"pkd does not compare the last student layer, so it needs two layers or more: {counts}")
            )
        if self.config.strategy == "skip" and teacher.layers % student.layers:
            problems.append(Problem(f"strategy 'skip' needs a depth that divides the teacher's: {counts}"))
        if student.layers > teacher.layers:
            problems.append(Problem(f"pkd needs a student that is not deeper than the teacher: {counts}"))
        return problems

    @property
    def layer_map(self) -> dict[int, int]:
        """The teacher layer of each student layer except the last."""
        name: layer_mapping.LayerMapping = "uniform" if self.config.strategy == "skip" else "last"
        mapped = layer_mapping.layer_map(name, self.student.layers, self.teachers[0].layers, self.seed)
        return {m: source for m, (source,) in enumerate(mapped[:-1], start=1)}

    def notes(self) -> Mapping[str, Any]:
        return {"layer_map": [[layer] for layer in self.layer_map.values()]}

    def stages(self) -> Sequence[Stage]:
        student, teacher = layers("hidden", self.layer_map), layers("hidden", self.layer_map.values())
        return [Stage("distill", Needs(student=["logits", *student], teachers=[["logits", *teacher]]))]

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        (teacher,) = teachers
        return {
            "task": task_loss(student.logits, batch),
            "kd": soft_target_loss(student.logits, teacher.logits, batch, self.config.temperature),
            "patience": self._patience(student, teacher),
        }

    def weights(self, step: Step) -> Mapping[str, float]:
        alpha, beta, kd = self.config.alpha, self.config.beta, self.config.alpha
        if self.config.beta_scale == "code":
            beta /= len(self.layer_map) * self.student.hidden
        if self.config.kd_scale == "code" and self.task.kind == "classification":
            kd /= self.task.num_labels
        return {"task": 1 - alpha, "kd": kd, "patience": beta}

    def _patience(self, student: ModelOutputs, teacher: ModelOutputs) -> Tensor:
        """Squared distance of the [CLS] vectors, summed over layers, mean over examples (equation 7)."""
        distances = [
            (self._cls(student.hidden[m]) - self._cls(teacher.hidden[g])).square().sum(-1).mean()
            for m, g in self.layer_map.items()
        ]
        return torch.stack(distances).sum()

    def _cls(self, hidden: Tensor) -> Tensor:
        """The [CLS] vectors [B, H] of hidden states [B, N, H], in at least float32."""
        cls = hidden[:, 0]
        return unit_vectors(cls) if self.config.normalize else full_precision(cls)


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(PKD)
