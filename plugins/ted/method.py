"""TED: filters learn on the task which part of the hidden states matters; then the student learns the filtered states,
the predictions and the labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    layers,
)
from harness.api import layer_mapping
from harness.api.lazy_torch import nn, torch
from harness.api.losses import soft_target_loss, task_loss, token_mse

from .filters import filter_modules, filtered_states, task_loss_of_layer

if TYPE_CHECKING:
    from torch import Tensor

FINETUNE, FILTERS, DISTILL = "finetune", "filters", "distill"


class TEDConfig(MethodConfig):
    """Options of ted."""

    temperature: float = Field(
        2.0, gt=0, description="temperature of the soft targets; kd is multiplied by its square (authors' code: 2)"
    )
    kd_weight: Annotated[float, Search(1.0, 20.0, log=True)] = Field(
        20.0, ge=0, description="weight of kd (authors' scripts: 20 on most tasks)"
    )
    filtered_weight: Annotated[float, Search(10.0, 10000.0, log=True)] = Field(
        100.0, ge=0, description="weight of filtered (authors' scripts: 10 to 7500, by task)"
    )
    mapping: layer_mapping.LayerMapping = Field("uniform", description="teacher layers of the student's layers")


class TED(Method):
    """Stage finetune: the labels; stage filters: filters and their heads alone, on the labels; stage distill: task +
    kd_weight * kd + filtered_weight * filtered."""

    name = "ted"
    summary = "hidden states through filters that were trained on the task (Liang et al. 2023)"
    group = "hidden states"
    citation = """@inproceedings{liang2023less,
  title = {Less is More: Task-aware Layer-wise Distillation for Language Model Compression},
  author = {Liang, Chen and Zuo, Simiao and Zhang, Qingru and He, Pengcheng and Chen, Weizhu and Zhao, Tuo},
  booktitle = {Proceedings of ICML},
  year = {2023}
}"""
    Config = TEDConfig

    def check(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> Sequence[Problem]:
        (teacher,) = teachers
        problem = layer_mapping.check(self.config.mapping, student.layers, teacher.layers)
        return [problem] if problem else []

    @property
    def layer_map(self) -> layer_mapping.LayerMap:
        """The teacher layers of each student layer."""
        return layer_mapping.layer_map(self.config.mapping, self.student.layers, self.teachers[0].layers, self.seed)

    def notes(self) -> Mapping[str, Any]:
        return {"layer_map": [list(sources) for sources in self.layer_map]}

    def stages(self) -> Sequence[Stage]:
        own = layers("hidden", self._layers)
        theirs = layers("hidden", sorted({layer for sources in self.layer_map for layer in sources}))
        student = frozenset({"embeddings", *layers("layer", self._layers), "head"})
        of_filters = frozenset({"teacher_filters", "student_filters"})
        return [
            Stage(FINETUNE, Needs(student=["logits"])),
            Stage(FILTERS, Needs(own, [theirs]), frozen=student, module_terms=of_filters, starts_from="best"),
            Stage(DISTILL, Needs(["logits", *own], [["logits", *theirs]])),
        ]

    @property
    def _layers(self) -> range:
        return range(1, self.student.layers + 1)

    def modules(self, student: ModelShape, teachers: Sequence[ModelShape]) -> nn.ModuleDict:
        width = teachers[0].hidden
        models = {"teacher": teachers[0], "student": student}
        modules = (filter_modules(name, self.task, self._layers, each.hidden, width) for name, each in models.items())
        return nn.ModuleDict({name: module for of_model in modules for name, module in of_model.items()})

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        if step.stage.name == FINETUNE:
            return {"task": task_loss(student.logits, batch)}
        (teacher,) = teachers
        if step.stage.name == FILTERS:
            return self._filter_losses(step, batch, student, teacher)
        return {
            "task": task_loss(student.logits, batch),
            "kd": soft_target_loss(student.logits, teacher.logits, batch, self.config.temperature),
            "filtered": self._filtered(step, batch, student, teacher),
        }

    def _filter_losses(self, step: Step, batch: Batch, student: ModelOutputs, teacher: ModelOutputs) -> LossTerms:
        """The task loss of each model's filters, the mean over its layers."""
        losses: dict[str, list[Tensor]] = {"student": [], "teacher": []}
        for layer, own, theirs in self._pairs(student, teacher):
            for model, hidden in (("student", own), ("teacher", theirs)):
                losses[model].append(task_loss_of_layer(step.modules, model, layer, hidden, batch))
        return {f"{model}_filters": torch.stack(of_layers).mean() for model, of_layers in losses.items()}

    def _filtered(self, step: Step, batch: Batch, student: ModelOutputs, teacher: ModelOutputs) -> Tensor:
        """The squared error of the filtered states, the mean over the layers; the teacher's filters are fixed."""
        losses = []
        for layer, own, theirs in self._pairs(student, teacher):
            with torch.no_grad():
                target = filtered_states(step.modules, "teacher", layer, theirs)
            losses.append(token_mse(filtered_states(step.modules, "student", layer, own), target, batch.mask))
        return torch.stack(losses).mean()

    def _pairs(self, student: ModelOutputs, teacher: ModelOutputs) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Each layer of the student, its hidden states, and those of its teacher layers."""
        for layer, sources in zip(self._layers, self.layer_map, strict=True):
            yield layer, student.hidden[layer], layer_mapping.gather(teacher.hidden, sources)

    def weights(self, step: Step) -> Mapping[str, float]:
        return {"kd": self.config.kd_weight, "filtered": self.config.filtered_weight}
