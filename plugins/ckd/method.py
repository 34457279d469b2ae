"""CKD: relations between words and between layers, predictions, and the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator

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
    Search,
    Stage,
    Step,
    TaskInfo,
    layers,
)
from harness.api import layer_mapping
from harness.api.lazy_torch import torch
from harness.api.losses import soft_cross_entropy, task_loss

from .relations import layer_relations, word_relations

if TYPE_CHECKING:
    from torch import Tensor


class CKDConfig(MethodConfig):
    """Options of ckd."""

    temperature: Annotated[float, Choices(1.0, 2.0, 3.0, 4.0)] = Field(
        2.0, gt=0, description="temperature of kd (authors' code: 1 to 4, by task)"
    )
    alpha: Annotated[float, Choices(0.7, 0.9)] = Field(
        0.9, ge=0, le=1, description="weight of kd; the labels have weight 1 - alpha (authors' code: 0.7 or 0.9)"
    )
    wr_pair_weight: Annotated[float, Search(0.0005, 5.0, log=True)] = Field(
        0.05, ge=0, description="weight of wr_pair, cosines between words"
    )
    wr_angle_weight: Annotated[float, Search(0.015, 150.0, log=True)] = Field(
        1.5, ge=0, description="weight of wr_angle, angles between words"
    )
    ltr_pair_weight: float = Field(0.15, ge=0, description="weight of ltr_pair, cosines between layers")
    ltr_angle_weight: float = Field(1.0, ge=0, description="weight of ltr_angle, angles between layers")
    window: int = Field(21, ge=3, description="number of words, an odd one, in the window of wr_angle")
    mapping: layer_mapping.LayerMapping = Field(
        "uniform", description="teacher layers of the student's layers; the embeddings are always compared, too"
    )

    @field_validator("window")
    @classmethod
    def _odd(cls, window: int) -> int:
        if window % 2 == 0:
            raise ValueError(f"the window has a word in its middle, so its size must be odd, not {window}")
        return window


class CKD(Method):
    """The loss alpha * kd + (1 - alpha) * task + the weighted wr_pair, wr_angle, ltr_pair and ltr_angle."""

    name = "ckd"
    summary = "relations between words and between layers (contextual KD, Park et al. 2021)"
    group = "attention and relations"
    citation = """@inproceedings{park2021distilling,
  title = {Distilling Linguistic Context for Language Model Compression},
  author = {Park, Geondo and Kim, Gyeongman and Yang, Eunho},
  booktitle = {Proceedings of EMNLP},
  year = {2021}
}"""
    Config = CKDConfig

    def check(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> Sequence[Problem]:
        (teacher,) = teachers
        problem = layer_mapping.check(self.config.mapping, student.layers, teacher.layers)
        return [problem] if problem else []

    @property
    def layer_map(self) -> layer_mapping.LayerMap:
        """The teacher layer of each student layer."""
        return layer_mapping.layer_map(self.config.mapping, self.student.layers, self.teachers[0].layers, self.seed)

    def notes(self) -> Mapping[str, Any]:
        notes: dict[str, Any] = {"layer_map": [list(sources) for sources in self.layer_map]}
        if self.student.layers == 1:
            notes["ltr"] = "ltr_pair and ltr_angle are 0: with the embeddings and one layer there is nothing to compare"
        return notes

    def stages(self) -> Sequence[Stage]:
        student = range(1, self.student.layers + 1)
        teacher = {layer for sources in self.layer_map for layer in sources}
        needs = [["logits", "embeddings", *layers("hidden", indices)] for indices in (student, sorted(teacher))]
        return [Stage("distill", Needs(student=needs[0], teachers=[needs[1]]))]

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        (teacher,) = teachers
        own = [student.embeddings, *(student.hidden[m] for m in range(1, self.student.layers + 1))]
        theirs = [
            teacher.embeddings,
            *(layer_mapping.gather(teacher.hidden, sources) for sources in self.layer_map),
        ]
        mask = batch.mask
        by_layer = [word_relations(s, t, mask, self.config.window) for s, t in zip(own, theirs, strict=True)]
        wr_pair, wr_angle = (torch.stack(terms).sum() for terms in zip(*by_layer, strict=True))
        ltr_pair, ltr_angle = layer_relations(own, theirs, mask)
        return {
            "kd": self._kd(student.logits, teacher.logits, batch),
            "task": task_loss(student.logits, batch),
            "wr_pair": wr_pair,
            "wr_angle": wr_angle,
            "ltr_pair": ltr_pair,
            "ltr_angle": ltr_angle,
        }

    def weights(self, step: Step) -> Mapping[str, float]:
        names = ("wr_pair", "wr_angle", "ltr_pair", "ltr_angle")
        relations = {name: getattr(self.config, f"{name}_weight") for name in names}
        return {"kd": self.config.alpha, "task": 1 - self.config.alpha, **relations}

    def _kd(self, student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy with the teacher's soft targets, without a factor t^2; for regression the mean squared error of
        the predictions divided by t."""
        temperature = self.config.temperature
        kd = soft_cross_entropy(student, teacher, batch, temperature)
        return kd / temperature**2 if batch.kind == "regression" else kd
