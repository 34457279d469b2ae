"""MLKD-BERT: six losses in two stages: embeddings, attention and features; then samples and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
from harness.api import losses as shared
from harness.api.lazy_torch import nn, torch

from .contrast import sample_contrast

if TYPE_CHECKING:
    from torch import Tensor

STAGE1 = ("emb", "mha", "ffn")
STAGE2 = ("ss", "sc", "kd")
BATCH_DEPENDENT = frozenset({"ss", "sc"})


class MLKDBertConfig(MethodConfig):
    """Options of mlkd_bert."""

    temperature: Annotated[float, Search(1.0, 10.0, log=True)] = Field(1.0, gt=0, description="temperature of kd")
    contrast_temperature: Annotated[float, Search(0.05, 0.5, log=True)] = Field(
        0.1, gt=0, description="temperature of sc"
    )
    views: Literal["teacher", "dropout"] = Field(
        "teacher",
        description="views that sc contrasts: student and teacher, or two student passes with different dropout",
    )
    one_stage: bool = Field(False, description="use all six losses in a single stage")
    emb: bool = Field(True, description="token relations of the embeddings (stage 1)")
    mha: bool = Field(True, description="token relations of the attention outputs (stage 1)")
    ffn: bool = Field(True, description="hidden states (stage 1)")
    ss: bool = Field(True, description="similarity of the samples of a batch (stage 2)")
    sc: bool = Field(True, description="contrast of the samples of a batch by class (stage 2; classification only)")
    kd: bool = Field(True, description="predictions (stage 2); without it the student's head is not trained")


class MLKDBert(Method):
    """Stage 1: emb + mha + ffn; stage 2: ss + sc + kd."""

    name = "mlkd_bert"
    summary = "six losses on tokens, features, samples and predictions (Zhang et al. 2024)"
    group = "attention and relations"
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
        if not self._enabled((*STAGE1, *STAGE2)):
            problems.append(Problem(f"every loss of mlkd_bert is off for {task.name}, which is {task.kind}"))
        if self.config.mha and teacher.context_width % student.heads:
            sizes = f"{student.name} has {student.heads} heads, {teacher.name} is {teacher.context_width} wide"
            problems.append(
                Problem(f"mha splits the teacher's attention output by the number of student heads: {sizes}")
            )
        unmapped = layer_mapping.check("uniform", student.layers, teacher.layers)
        if unmapped and (self.config.mha or self.config.ffn):
            problems.append(unmapped)
        return problems

    def _enabled(self, names: Sequence[str]) -> list[str]:
        """The losses among `names` that are switched on; sc is off unless each example has one class."""
        return [n for n in names if getattr(self.config, n) and (n != "sc" or self.task.kind == "classification")]

    @property
    def layer_map(self) -> layer_mapping.LayerMap:
        """The teacher layer of each student layer; empty if no loss compares layers."""
        if not self._enabled(("mha", "ffn")):
            return ()
        return layer_mapping.layer_map("uniform", self.student.layers, self.teachers[0].layers, self.seed)

    def notes(self) -> Mapping[str, Any]:
        notes: dict[str, Any] = {}
        if self.layer_map:
            notes["layer_map"] = [list(sources) for sources in self.layer_map]
        if self.config.sc and not self._enabled(("sc",)):
            many = self.task.kind in ("multilabel", "token_classification")
            reason = "has no single class for an example" if many else "has no classes"
            notes["sc"] = f"off: a {self.task.kind} task {reason}"
        if not self.config.kd:
            notes["kd"] = "off: the student's head stays as it was initialised"
        return notes

    def stages(self) -> Sequence[Stage]:
        losses = {"one_stage": (*STAGE1, *STAGE2)} if self.config.one_stage else {"stage1": STAGE1, "stage2": STAGE2}
        enabled = {stage: self._enabled(names) for stage, names in losses.items()}
        return [self._stage(stage, names) for stage, names in enabled.items() if names]

    def _stage(self, stage: str, names: Sequence[str]) -> Stage:
        needs = [self._needs(name) for name in names]
        student, teacher = ({need for pair in needs for need in pair[side]} for side in (0, 1))
        return Stage(stage, Needs(student, [teacher]), batch_dependent=BATCH_DEPENDENT & {*names})

    def _needs(self, name: str) -> tuple[list[str], list[str]]:
        """The outputs that a loss needs: of the student, and of the teacher."""
        student_layers = range(1, len(self.layer_map) + 1)
        teacher_layers = [layer for sources in self.layer_map for layer in sources]
        student_last, teacher_last = [self._last], layers("hidden", [self.teachers[0].layers])
        return {
            "emb": (["embeddings"], ["embeddings"]),
            "mha": (layers("context", student_layers), layers("context", teacher_layers)),
            "ffn": (layers("hidden", student_layers), layers("hidden", teacher_layers)),
            "ss": (student_last, teacher_last),
            "sc": (student_last, [] if self.config.views == "dropout" else teacher_last),
            "kd": (["logits"], ["logits"]),
        }[name]

    @property
    def _last(self) -> str:
        return f"hidden[{self.student.layers}]"

    def modules(self, student: ModelShape, teachers: Sequence[ModelShape]) -> nn.ModuleDict:
        (teacher,) = teachers
        names = [f"ffn_{m}" for m in range(1, student.layers + 1)] if self.config.ffn else []
        if self._enabled(("sc",)) and self.config.views == "teacher":
            names.append("sc")
        return nn.ModuleDict({name: shared.projection(student.hidden, teacher.hidden) for name in names})

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        (teacher,) = teachers
        terms = {"emb": self._emb, "mha": self._mha, "ffn": self._ffn, "ss": self._ss, "sc": self._sc, "kd": self._kd}
        names = {"stage1": STAGE1, "stage2": STAGE2}.get(step.stage.name, (*STAGE1, *STAGE2))
        return {name: terms[name](step, batch, student, teacher) for name in self._enabled(names)}

    def _emb(self, step: Step, batch: Batch, student: ModelOutputs, teacher: ModelOutputs) -> Tensor:
        """KL of the token relations of the embeddings."""
        return shared.relation_kl(student.embeddings, teacher.embeddings, batch.mask)

    def _mha(self, step: Step, batch: Batch, student: ModelOutputs, teacher: ModelOutputs) -> Tensor:
        """KL of the token relations of the attention outputs, split by the number of student heads."""
        terms = [
            shared.relation_kl(student.context[m], teacher.context[g], batch.mask, heads=self.student.heads)
            for m, (g,) in enumerate(self.layer_map, start=1)
        ]
        return torch.stack(terms).sum()

    def _ffn(self, step: Step, batch: Batch, student: ModelOutputs, teacher: ModelOutputs) -> Tensor:
        """Mean squared error of hidden states, the student's projected to the teacher's width."""
        terms = [
            shared.token_mse(step.modules[f"ffn_{m}"](student.hidden[m]), teacher.hidden[g], batch.mask)
            for m, (g,) in enumerate(self.layer_map, start=1)
        ]
        return torch.stack(terms).sum()

    def _ss(self, step: Step, batch: Batch, student: ModelOutputs, teacher: ModelOutputs) -> Tensor:
        """KL of the relations between the samples of a batch, whose [CLS] vectors form one sequence [1, B, H]."""
        student_cls, teacher_cls = self._cls(student)[None], self._teacher_cls(teacher)[None]
        mask = torch.ones_like(student_cls[..., 0], dtype=torch.bool)
        return shared.relation_kl(student_cls, teacher_cls, mask)

    def _sc(self, step: Step, batch: Batch, student: ModelOutputs, teacher: ModelOutputs) -> Tensor:
        """Supervised contrast of the [CLS] vectors of two views."""
        if self.config.views == "dropout":
            views = self._cls(student), self._cls(step.student.run([self._last]))
        else:
            views = step.modules["sc"](self._cls(student)), self._teacher_cls(teacher)
        return sample_contrast(*views, batch.labels, self.config.contrast_temperature)

    def _kd(self, step: Step, batch: Batch, student: ModelOutputs, teacher: ModelOutputs) -> Tensor:
        """KL of the predictions, without a factor t^2."""
        return shared.kl_loss(student.logits, teacher.logits, batch, self.config.temperature)

    def _cls(self, student: ModelOutputs) -> Tensor:
        return student.hidden[self.student.layers][:, 0]

    def _teacher_cls(self, teacher: ModelOutputs) -> Tensor:
        return teacher.hidden[self.teachers[0].layers][:, 0]
