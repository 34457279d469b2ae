"""RAIL-KD: the student's intermediate layers learn from teacher layers that are drawn anew in every epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from harness import (
    Batch,
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
    layers,
)
from harness.api.lazy_torch import nn, torch
from harness.api.losses import full_precision, soft_target_loss, task_loss, unit_vectors
from harness.api.seeded_choice import SeededChoice
from harness.api.seeds import derive
from harness.api.wording import counted

if TYPE_CHECKING:
    from torch import Tensor


class RailKDConfig(MethodConfig):
    """Options of rail_kd. The labels have weight 1 - kd_weight - rail_weight."""

    mode: Literal["layerwise", "concat"] = Field(
        "layerwise", description="compare layer by layer, or the concatenation of all layers"
    )
    width: int = Field(128, ge=1, description="width of the space in which both models are compared")
    temperature: float = Field(10.0, gt=0, description="temperature of the soft targets")
    kd_weight: float = Field(1 / 3, ge=0, le=1, description="weight of the soft targets")
    rail_weight: float = Field(1 / 3, ge=0, le=1, description="weight of the intermediate layers")
    draw_every: int | None = Field(None, ge=1, description="steps between two draws; null: a draw in each epoch")
    include_last: bool = Field(False, description="draw from all teacher layers, the last one included")

    @model_validator(mode="after")
    def _weights_leave_some_for_the_labels(self) -> RailKDConfig:
        if self.kd_weight + self.rail_weight > 1:
            raise ValueError(
                f"kd_weight is {self.kd_weight:g} and rail_weight {self.rail_weight:g}; their sum must be at most 1"
            )
        return self


class RailKD(Method):
    """The loss l1 * task + l2 * kd + l3 * rail, l1 + l2 + l3 = 1."""

    name = "rail_kd"
    summary = "intermediate layers against randomly drawn teacher layers (Haidar et al. 2022)"
    group = "hidden states"
    citation = """@inproceedings{haidar2022rail,
  title = {{RAIL-KD}: {RA}ndom Intermediate Layer Mapping for Knowledge Distillation},
  author = {Haidar, Md Akmal and Anchuri, Nithin and Rezagholizadeh, Mehdi and Ghaddar, Abbas and Langlais, Philippe
            and Poupart, Pascal},
  booktitle = {Findings of NAACL},
  year = {2022}
}"""
    Config = RailKDConfig

    def check(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> Sequence[Problem]:
        (teacher,) = teachers
        counts = f"{student.name} has {counted(student.layers, 'layer')}, {teacher.name} has {teacher.layers}"
        if student.layers < 2:
            return [Problem(f"rail_kd compares all student layers but the last, so it needs two or more: {counts}")]
        if student.layers - 1 > len(self.pool):
            return [Problem(f"rail_kd draws a teacher layer for each student layer but the last: {counts}")]
        return []

    @property
    def own_layers(self) -> range:
        """The student layers that are compared: all but the last."""
        return range(1, self.student.layers)

    @property
    def pool(self) -> range:
        """The teacher layers to draw from."""
        return range(1, self.teachers[0].layers + (1 if self.config.include_last else 0))

    def drawn(self, step: Step) -> list[int]:
        """The teacher layers of this step, in ascending order."""
        every = self.config.draw_every
        number = int(step.epoch) if every is None else step.index // every
        choice = SeededChoice(derive(self.seed, "rail_kd", str(number)))
        return sorted(choice.some(self.pool, len(self.own_layers)))

    def stages(self) -> Sequence[Stage]:
        own, theirs = layers("hidden", self.own_layers), layers("hidden", self.pool)
        return [Stage("distill", Needs(student=["logits", *own], teachers=[["logits", *theirs]]))]

    def needs(self, step: Step) -> Needs:
        return Needs(step.stage.needs.student, [["logits", *layers("hidden", self.drawn(step))]])

    def modules(self, student: ModelShape, teachers: Sequence[ModelShape]) -> nn.ModuleDict:
        own, theirs = student.hidden, teachers[0].hidden
        if self.config.mode == "concat":
            count = len(self.own_layers)
            pairs = {"": (count * own, count * theirs)}
        else:
            pairs = {f"_{m}": (own, theirs) for m in self.own_layers}
        modules = nn.ModuleDict()
        for suffix, widths in pairs.items():
            maps = [nn.Linear(width, self.config.width, bias=False) for width in widths]
            if widths[0] == widths[1]:  # so that equal models are at distance 0
                maps[1].load_state_dict(maps[0].state_dict())
            modules.update({f"student{suffix}": maps[0], f"teacher{suffix}": maps[1]})
        return modules

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        (teacher,) = teachers
        drawn = self.drawn(step)
        for m, g in zip(self.own_layers, drawn, strict=True):
            step.log(f"teacher_layer_{m}", float(g))
        own = [mean_over_tokens(student.hidden[m], batch) for m in self.own_layers]
        theirs = [mean_over_tokens(teacher.hidden[g], batch) for g in drawn]
        return {
            "task": task_loss(student.logits, batch),
            "kd": soft_target_loss(student.logits, teacher.logits, batch, self.config.temperature),
            "rail": self._rail(step, own, theirs),
        }

    def weights(self, step: Step) -> Mapping[str, float]:
        kd, rail = self.config.kd_weight, self.config.rail_weight
        return {"task": 1 - kd - rail, "kd": kd, "rail": rail}

    def notes(self) -> Mapping[str, Any]:
        every = "epoch" if self.config.draw_every is None else f"{self.config.draw_every} steps"
        return {"drawn_from": [self.pool[0], self.pool[-1]], "drawn_every": every}

    def _rail(self, step: Step, own: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
        """The squared distance of the projected unit vectors, summed over layers, mean over examples."""
        if self.config.mode == "concat":
            pairs = {"": (torch.cat([*own], dim=-1), torch.cat([*theirs], dim=-1))}
        else:
            pairs = {f"_{m}": pair for m, pair in zip(self.own_layers, zip(own, theirs, strict=True), strict=True)}
        distances = []
        for suffix, (s, t) in pairs.items():
            s = unit_vectors(step.modules[f"student{suffix}"](s))
            t = unit_vectors(step.modules[f"teacher{suffix}"](t))
            # Both maps are trained: they could agree by mapping everything to one vector.
            step.log(f"variance{suffix}", s.detach().var(dim=0, correction=0).sum())
            distances.append((s - t).square().sum(-1).mean())
        return torch.stack(distances).sum()


def mean_over_tokens(hidden: Tensor, batch: Batch) -> Tensor:
    """The mean of [B, N, H] over real tokens, in at least float32: [B, H]."""
    summed = full_precision(hidden).masked_fill(~batch.mask[:, :, None], 0).sum(1)
    return summed / batch.lengths[:, None]
