"""MT-BERT: one stage with hidden states and predictions of several teachers, and the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from harness import (
    Batch,
    Cofinetuning,
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
from harness.api import losses as shared
from harness.api.lazy_torch import nn, torch

if TYPE_CHECKING:
    from torch import Tensor


class MTBERTConfig(MethodConfig):
    """Options of mt_bert."""

    temperature: Annotated[float, Search(1.0, 10.0, log=True)] = Field(
        1.0, gt=0, description="temperature of the distillation loss (paper: 1)"
    )
    cofinetune: bool = Field(
        True, description="fine-tune the teachers jointly with one head; false: fine-tune each separately"
    )
    hidden_loss: bool = Field(True, description="learn from the teachers' hidden states")
    weighting: bool = Field(True, description="weigh a teacher less on examples where its loss is high")


class MTBERT(Method):
    """The loss hidden + distillation + task, with jointly fine-tuned teachers."""

    name = "mt_bert"
    summary = "several teachers, fine-tuned together, each weighed by how right it is (Wu et al. 2021)"
    group = "multi-teacher"
    citation = """@inproceedings{wu2021one,
  title = {One Teacher is Enough? Pre-trained Language Model Distillation from Multiple Teachers},
  author = {Wu, Chuhan and Wu, Fangzhao and Huang, Yongfeng},
  booktitle = {Findings of ACL-IJCNLP},
  year = {2021}
}"""
    max_teachers = None
    Config = MTBERTConfig

    def check(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> Sequence[Problem]:
        if not self.config.hidden_loss:
            return ()
        checks = ((teacher, layer_mapping.check("uniform", student.layers, teacher.layers)) for teacher in teachers)
        return [Problem(f"{teacher.name}: {problem.message}") for teacher, problem in checks if problem]

    def cofinetuning(self) -> Cofinetuning | None:
        return Cofinetuning(_sum_of_task_losses, options={}) if self.config.cofinetune else None

    @property
    def layer_maps(self) -> tuple[tuple[int, ...], ...]:
        """For each teacher, the teacher layer of each student layer; empty without the hidden loss."""
        if not self.config.hidden_loss:
            return tuple(() for _ in self.teachers)
        maps = (layer_mapping.layer_map("uniform", self.student.layers, t.layers, self.seed) for t in self.teachers)
        return tuple(tuple(layer for (layer,) in layer_map) for layer_map in maps)

    def notes(self) -> Mapping[str, Any]:
        return {"layer_maps": [list(layer_map) for layer_map in self.layer_maps]}

    def stages(self) -> Sequence[Stage]:
        student_layers = range(1, self.student.layers + 1) if self.config.hidden_loss else ()
        teachers = [["logits", *layers("hidden", layer_map)] for layer_map in self.layer_maps]
        return [Stage("distill", Needs(student=["logits", *layers("hidden", student_layers)], teachers=teachers))]

    def modules(self, student: ModelShape, teachers: Sequence[ModelShape]) -> nn.ModuleDict:
        return nn.ModuleDict(
            {
                _projection(i, m): shared.projection(teacher.hidden, student.hidden)
                for i, (teacher, mapped) in enumerate(zip(teachers, self.layer_maps, strict=True), start=1)
                for m in range(1, len(mapped) + 1)
            }
        )

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        terms = {
            "distillation": torch.stack([self._distillation(batch, student, teacher) for teacher in teachers]).sum(),
            "task": shared.task_loss(student.logits, batch),
        }
        if not self.layer_maps[0]:
            return terms
        return {"hidden": self._hidden(step.modules, batch, student, teachers), **terms}

    def _hidden(
        self, modules: nn.ModuleDict, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]
    ) -> Tensor:
        """MSE(H_S[m], H_Ti[g_i(m)] W_im), summed over teachers i and student layers m."""
        terms = [
            shared.token_mse(student.hidden[m], modules[_projection(i, m)](teacher.hidden[layer]), batch.mask)
            for i, (teacher, mapped) in enumerate(zip(teachers, self.layer_maps, strict=True), start=1)
            for m, layer in enumerate(mapped, start=1)
        ]
        return torch.stack(terms).sum()

    def _distillation(self, batch: Batch, student: ModelOutputs, teacher: ModelOutputs) -> Tensor:
        """The loss of one teacher: CE(softmax(z_T / t), softmax(z_S / t)) / (1 + CE(z_T, y)), mean over examples.

        The quotient is computed for each distribution: of QA for start and end, of multilabel for each class, of token
        classification for each labelled token.
        """
        cross_entropy = shared.soft_cross_entropies(student.logits, teacher.logits, batch, self.config.temperature)
        if self.config.weighting:
            cross_entropy = cross_entropy / (1 + shared.task_losses(teacher.logits, batch))
        return shared.mean_over_distributions(cross_entropy, batch)


def _projection(teacher: int, layer: int) -> str:
    return f"teacher_{teacher}_layer_{layer}"


def _sum_of_task_losses(batches: Sequence[Batch], teachers: Sequence[ModelOutputs]) -> LossTerms:
    """The task loss of each teacher, with the labels for its own tokens."""
    pairs = zip(batches, teachers, strict=True)
    return {f"task_{i}": shared.task_loss(teacher.logits, batch) for i, (batch, teacher) in enumerate(pairs, start=1)}
