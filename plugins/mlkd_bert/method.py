"""Six losses on four levels, in two stages: token relations, attention, features; then samples and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

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
from harness.api import losses as shared

from .contrast import sample_contrast

STAGE1 = ("emb", "mha", "ffn")
STAGE2 = ("ss", "sc", "kd")
COUPLED = frozenset({"ss", "sc"})


class MLKDBertConfig(MethodConfig):
    """Options of mlkd_bert."""

    temperature: Annotated[float, Search(1.0, 10.0, log=True)] = Field(1.0, gt=0, description="of kd")
    contrast_temperature: Annotated[float, Search(0.05, 0.5, log=True)] = Field(0.1, gt=0, description="of sc")
    views: Literal["teacher", "dropout"] = Field(
        "teacher", description="what sc contrasts: student and teacher, or two passes of the student with other dropout"
    )
    one_stage: bool = Field(False, description="all six losses at once, for the whole run")
    emb: bool = Field(True, description="relations of the embeddings' tokens (stage 1)")
    mha: bool = Field(True, description="relations of the attention outputs' tokens (stage 1)")
    ffn: bool = Field(True, description="hidden states (stage 1)")
    ss: bool = Field(True, description="similarity of the batch's samples (stage 2)")
    sc: bool = Field(True, description="contrast of the batch's samples by class (stage 2; classification only)")
    kd: bool = Field(True, description="predictions (stage 2); without it the student's head is not trained")


class MLKDBert(Method):
    """Stage 1: emb + mha + ffn; stage 2: ss + sc + kd."""

    name = "mlkd_bert"
    summary = "six losses on tokens, features, samples and predictions (Zhang et al. 2024)"
    citation = """@article{zhang2024mlkdbert,
  title = {{MLKD-BERT}: Multi-level Knowledge Distillation for Pre-trained Language Models},
  author = {Zhang, Ying and Yang, Ziheng and Ji, Shufan},
  journal = {arXiv preprint arXiv:2407.02775},
  year = {2024}
}"""
    Config = MLKDBertConfig

    def check(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> Sequence[Problem]:
        (teacher,) = teachers
        problems = []
        if not self._on((*STAGE1, *STAGE2)):
            problems.append(Problem(f"every loss of mlkd_bert is off for {task.name}, which is {task.kind}"))
        if self.config.mha and teacher.hidden % student.heads:
            sizes = f"{student.name} has {student.heads} heads, {teacher.name} is {teacher.hidden} wide"
            problems.append(Problem(f"mha splits the teacher's attention output into one part a student head: {sizes}"))
        unmapped = layer_mapping.check("uniform", student.layers, teacher.layers)
        if unmapped and (self.config.mha or self.config.ffn):
            problems.append(unmapped)
        return problems

    def _on(self, names: Sequence[str]) -> list[str]:
        """The losses that are taken; sc needs classes."""
        return [n for n in names if getattr(self.config, n) and (n != "sc" or self.task.kind == "classification")]

    @property
    def layer_map(self) -> layer_mapping.LayerMap:
        """The teacher layer of each student layer; empty where no loss compares layers."""
        if not self._on(("mha", "ffn")):
            return ()
        return layer_mapping.layer_map("uniform", self.student.layers, self.teachers[0].layers, self.seed)

    def notes(self) -> Mapping[str, Any]:
        notes: dict[str, Any] = {}
        if self.layer_map:
            notes["layer_map"] = [list(sources) for sources in self.layer_map]
        if self.config.sc and not self._on(("sc",)):
            notes["sc"] = f"off: a {self.task.kind} task has no classes"
        if not self.config.kd:
            notes["kd"] = "off: the student's head stays as it was initialised"
        return notes

    def stages(self) -> Sequence[Stage]:
        split = {"one_stage": (*STAGE1, *STAGE2)} if self.config.one_stage else {"stage1": STAGE1, "stage2": STAGE2}
        return [self._stage(stage, on) for stage, names in split.items() if (on := self._on(names))]

    def _stage(self, stage: str, on: Sequence[str]) -> Stage:
        needs = [self._needs(name) for name in on]
        student, teacher = ({need for pair in needs for need in pair[side]} for side in (0, 1))
        return Stage(stage, Needs(student, [teacher]), batch_dependent=COUPLED & {*on})

    def _needs(self, name: str) -> tuple[list[str], list[str]]:
        """What a loss reads of the student, and of the teacher."""
        own = range(1, len(self.layer_map) + 1)
        theirs = [layer for sources in self.layer_map for layer in sources]
        last, last_of_teacher = [self._last], layers("hidden", [self.teachers[0].layers])
        return {
            "emb": (["embeddings"], ["embeddings"]),
            "mha": (layers("context", own), layers("context", theirs)),
            "ffn": (layers("hidden", own), layers("hidden", theirs)),
            "ss": (last, last_of_teacher),
            "sc": (last, [] if self.config.views == "dropout" else last_of_teacher),
            "kd": (["logits"], ["logits"]),
        }[name]

    @property
    def _last(self) -> str:
        return f"hidden[{self.student.layers}]"

    def modules(self, student: ModelShape, teachers: Sequence[ModelShape]) -> nn.ModuleDict:
        (teacher,) = teachers
        names = [f"ffn_{m}" for m in range(1, student.layers + 1)] if self.config.ffn else []
        if self._on(("sc",)) and self.config.views == "teacher":
            names.append("sc")
        return nn.ModuleDict({name: shared.projection(student.hidden, teacher.hidden) for name in names})

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        (teacher,) = teachers
        terms = {"emb": self._emb, "mha": self._mha, "ffn": self._ffn, "ss": self._ss, "sc": self._sc, "kd": self._kd}
        names = {"stage1": STAGE1, "stage2": STAGE2}.get(step.stage.name, (*STAGE1, *STAGE2))
        return {name: terms[name](step, batch, student, teacher) for name in self._on(names)}

    def _emb(self, step: Step, batch: Batch, student: ModelOutputs, teacher: ModelOutputs) -> Tensor:
        """Relations of the embedding output's tokens."""
        return shared.relation_kl(student.embeddings, teacher.embeddings, batch.mask)

    def _mha(self, step: Step, batch: Batch, student: ModelOutputs, teacher: ModelOutputs) -> Tensor:
        """Relations of the attention outputs' tokens: the student's by head, the teacher's in as many splits."""
        terms = [
            shared.relation_kl(student.context[m], teacher.context[g], batch.mask, heads=self.student.heads)
            for m, (g,) in enumerate(self.layer_map, start=1)
        ]
        return torch.stack(terms).sum()

    def _ffn(self, step: Step, batch: Batch, student: ModelOutputs, teacher: ModelOutputs) -> Tensor:
        """Squared distance of hidden states, the student's projected."""
        terms = [
            shared.token_mse(step.modules[f"ffn_{m}"](student.hidden[m]), teacher.hidden[g], batch.mask)
            for m, (g,) in enumerate(self.layer_map, start=1)
        ]
        return torch.stack(terms).sum()

    def _ss(self, step: Step, batch: Batch, student: ModelOutputs, teacher: ModelOutputs) -> Tensor:
        """Relations of the batch's samples: those of one sequence, whose tokens are the samples' [CLS]."""
        own, theirs = self._cls(student)[None], self._cls_of_teacher(teacher)[None]
        return shared.relation_kl(own, theirs, torch.ones_like(own[..., 0], dtype=torch.bool))

    def _sc(self, step: Step, batch: Batch, student: ModelOutputs, teacher: ModelOutputs) -> Tensor:
        """Contrast of the samples' [CLS] by class, in two views."""
        if self.config.views == "dropout":
            views = self._cls(student), self._cls(step.forward_student([self._last]))
        else:
            views = step.modules["sc"](self._cls(student)), self._cls_of_teacher(teacher)
        return sample_contrast(*views, batch.labels, self.config.contrast_temperature)

    def _kd(self, step: Step, batch: Batch, student: ModelOutputs, teacher: ModelOutputs) -> Tensor:
        """KL of the predictions, without a factor for the temperature."""
        return shared.kl_loss(student.logits, teacher.logits, batch, self.config.temperature)

    def _cls(self, student: ModelOutputs) -> Tensor:
        return student.hidden[self.student.layers][:, 0]

    def _cls_of_teacher(self, teacher: ModelOutputs) -> Tensor:
        return teacher.hidden[self.teachers[0].layers][:, 0]
