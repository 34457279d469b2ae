"""SID: Aguilar et al. 2020, arXiv 1910.03723."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

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
    Stage,
    Step,
    TaskInfo,
    hookimpl,
    layers,
)
from harness.api import layer_mapping
from harness.api.lazy_torch import nn, torch
from harness.api.losses import attention_kl, full_precision, projection, soft_target_loss


class SIDConfig(MethodConfig):
    """Options of sid."""

    mode: Literal["stacked", "progressive", "all"] = Field(
        "stacked",
        description="compare layers 1 to the current one (stacked), the current layer only, or all layers at once",
    )
    attention_weight: float = Field(1.0, ge=0, description="weight of the attention loss")
    cls_weight: float = Field(1.0, ge=0, description="weight of the loss on [CLS]")
    temperature: float = Field(1.0, gt=0, description="temperature of the soft labels")


class SID(Method):
    """Stage internal: attention + cls of the active layers, from the bottom up; stage kd: soft labels alone."""

    name = "sid"
    summary = "attention and [CLS] of the layers from the bottom up, then soft labels (Aguilar et al. 2020)"
    group = "progressive"
    citation = """@inproceedings{aguilar2020knowledge,
  title = {Knowledge Distillation from Internal Representations},
  author = {Aguilar, Gustavo and Ling, Yuan and Zhang, Yu and Yao, Benjamin and Fan, Xing and Guo, Chenlei},
  booktitle = {Proceedings of AAAI},
  year = {2020}
}"""
    Config = SIDConfig

    def check(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> Sequence[Problem]:
        (teacher,) = teachers
        problems = []
        if student.heads != teacher.heads:
            heads = f"{student.name} has {student.heads}, {teacher.name} has {teacher.heads}"
            problems.append(
                Problem(f"sid compares attention head by head, which needs equal numbers of heads: {heads}")
            )
        if problem := layer_mapping.check("uniform", student.layers, teacher.layers):
            problems.append(problem)
        return problems

    @property
    def layer_map(self) -> dict[int, int]:
        """The teacher layer of each student layer."""
        mapped = layer_mapping.layer_map("uniform", self.student.layers, self.teachers[0].layers, self.seed)
        return {m: source for m, (source,) in enumerate(mapped, start=1)}

    def notes(self) -> Mapping[str, Any]:
        return {"layer_map": [[layer] for layer in self.layer_map.values()]}

    def active(self, step: Step) -> range:
        """The student layers that are compared at this step. The current layer advances after equal shares of steps."""
        current = step.index * self.student.layers // step.steps + 1
        return {
            "stacked": range(1, current + 1),
            "progressive": range(current, current + 1),
            "all": range(1, self.student.layers + 1),
        }[self.config.mode]

    def stages(self) -> Sequence[Stage]:
        every = range(1, self.student.layers + 1)
        return [
            Stage("internal", self._needs(every), share=self.student.layers),
            Stage("kd", Needs(student=["logits"], teachers=[["logits"]]), share=1),
        ]

    def needs(self, step: Step) -> Needs:
        return self._needs(self.active(step)) if step.stage.name == "internal" else step.stage.needs

    def _needs(self, active: Sequence[int]) -> Needs:
        sources = [self.layer_map[m] for m in active]
        names = ("queries", "keys", "hidden")
        own, theirs = ([each for name in names for each in layers(name, chosen)] for chosen in (active, sources))
        return Needs(own, [theirs])

    def modules(self, student: ModelShape, teachers: Sequence[ModelShape]) -> nn.ModuleDict:
        if student.hidden == teachers[0].hidden:
            return nn.ModuleDict()
        return nn.ModuleDict({"projection": projection(student.hidden, teachers[0].hidden)})

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        (teacher,) = teachers
        if step.stage.name == "kd":
            return {"kd": soft_target_loss(student.logits, teacher.logits, batch, self.config.temperature)}
        attention, cls = [], []
        for m in self.active(step):
            g = self.layer_map[m]
            own, theirs = (student.queries[m], student.keys[m]), (teacher.queries[g], teacher.keys[g])
            attention.append(attention_kl(own, [theirs], batch.mask))
            vectors = student.hidden[m][:, 0]
            vectors = step.modules["projection"](vectors) if "projection" in step.modules else vectors
            cosine = nn.functional.cosine_similarity(
                full_precision(vectors), full_precision(teacher.hidden[g][:, 0]), dim=-1
            )
            cls.append((1 - cosine).mean())
        return {"attention": torch.stack(attention).sum(), "cls": torch.stack(cls).sum()}

    def weights(self, step: Step) -> Mapping[str, float]:
        return {"attention": self.config.attention_weight, "cls": self.config.cls_weight}


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(SID)
