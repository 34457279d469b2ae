"""MiniLM: the student's last layer learns the self-attention relations of one teacher layer; then the labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from harness import (
    Batch,
    General,
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
from harness.api.losses import relation_kl, task_loss

MAX_RELATION_HEADS = 48
"""The default number of relation heads does not exceed this: 48 for width 768 in the second paper."""


class MiniLMConfig(MethodConfig):
    """Options of minilm."""

    keyed_separately: ClassVar[frozenset[str]] = frozenset({"assistant"})

    version: Literal[1, 2] = Field(
        1, description="1: attention and value relations of each head; 2: Q-Q, K-K and V-V of relation heads"
    )
    relation_heads: int | None = Field(
        None,
        ge=1,
        description="version 2 only; must divide both widths; default: their largest common divisor up to 48",
    )
    teacher_layer: int | None = Field(None, ge=1, description="the teacher layer to learn from; default: the last")
    assistant: bool = Field(
        False,
        description="text stage: the teacher first trains an assistant of its own depth and the student's width, which"
        " then teaches the student",
    )

    @model_validator(mode="after")
    def _relation_heads_are_of_version_2(self) -> MiniLMConfig:
        if self.version == 1 and self.relation_heads is not None:
            raise ValueError(f"relation_heads is {self.relation_heads}, but version 1 has none; set version: 2")
        return self

    @model_validator(mode="after")
    def _an_assistant_teaches_with_its_last_layer(self) -> MiniLMConfig:
        if self.assistant and self.teacher_layer is not None:
            raise ValueError(
                f"teacher_layer is {self.teacher_layer}, but an assistant learns and teaches with its last layer; set"
                " only one of teacher_layer and assistant"
            )
        return self


class MiniLM(Method):
    """Stage distill: self-attention relations of the last layers; stage finetune: the labels."""

    name = "minilm"
    summary = "self-attention relations of the last layer, then the labels (Wang et al. 2020, 2021)"
    group = "attention and relations"
    citation = """@inproceedings{wang2020minilm,
  title = {{MiniLM}: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained Transformers},
  author = {Wang, Wenhui and Wei, Furu and Dong, Li and Bao, Hangbo and Yang, Nan and Zhou, Ming},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2020}
}
@inproceedings{wang2021minilmv2,
  title = {{MiniLMv2}: Multi-Head Self-Attention Relation Distillation for Compressing Pretrained Transformers},
  author = {Wang, Wenhui and Bao, Hangbo and Huang, Shaohan and Dong, Li and Wei, Furu},
  booktitle = {Findings of ACL-IJCNLP},
  year = {2021}
}"""
    Config = MiniLMConfig

    def check(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> Sequence[Problem]:
        (teacher,) = teachers
        problems = []
        if self.config.version == 1 and student.heads != teacher.heads:
            counts = f"{student.name} has {student.heads}, {teacher.name} has {teacher.heads}"
            problems.append(Problem(f"minilm version 1 needs equal numbers of heads (version 2 does not): {counts}"))
        heads = self.config.relation_heads
        if heads is not None and (student.qkv_width % heads or teacher.qkv_width % heads):
            widths = f"{student.name} has {student.qkv_width}, {teacher.name} has {teacher.qkv_width}"
            problems.append(Problem(f"relation_heads {heads} does not divide both widths: {widths}"))
        if self.teacher_layer > teacher.layers:
            problems.append(
                Problem(f"teacher_layer is {self.teacher_layer}; {teacher.name} has {teacher.layers} layers")
            )
        return problems

    @property
    def teacher_layer(self) -> int:
        """The teacher layer to learn from, counted from 1."""
        layer: int | None = self.config.teacher_layer
        return layer or self.teachers[0].layers

    @property
    def relation_heads(self) -> int | None:
        """The number of relation heads in version 2; None in version 1, which uses the attention heads."""
        if self.config.version == 1:
            return None
        heads: int | None = self.config.relation_heads
        widths = self.student.qkv_width, self.teachers[0].qkv_width
        return heads or _largest_divisor(math.gcd(*widths), MAX_RELATION_HEADS)

    def notes(self) -> Mapping[str, Any]:
        notes = {"teacher_layer": self.teacher_layer}
        return notes if self.relation_heads is None else {**notes, "relation_heads": self.relation_heads}

    def general(self) -> General:
        """The losses of stage distill on unlabelled text, as in both papers."""
        options = {name: getattr(self.config, name) for name in ("version", "relation_heads", "teacher_layer")}
        assistant = {"layers": self.teachers[0].layers} if self.config.assistant else None
        return General(Stage("general", self._relations), options=options, assistant=assistant)

    def stages(self) -> Sequence[Stage]:
        return [Stage("distill", self._relations, share=2), Stage("finetune", Needs(student=["logits"]), share=1)]

    @property
    def _relations(self) -> Needs:
        def vectors(layer: int) -> list[str]:
            return [need for name in ("queries", "keys", "values") for need in layers(name, [layer])]

        return Needs(student=vectors(self.student.layers), teachers=[vectors(self.teacher_layer)])

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        if step.stage.name == "finetune":
            return {"task": task_loss(student.logits, batch)}
        (teacher,) = teachers
        m, g = self.student.layers, self.teacher_layer
        q_s, k_s, v_s = student.queries[m], student.keys[m], student.values[m]
        q_t, k_t, v_t = teacher.queries[g], teacher.keys[g], teacher.values[g]
        if self.config.version == 1:
            return {
                "attention": relation_kl((q_s, k_s), (q_t, k_t), batch.mask),
                "value": relation_kl(v_s, v_t, batch.mask),
            }
        pairs = {"qq": (q_s, q_t), "kk": (k_s, k_t), "vv": (v_s, v_t)}
        return {name: relation_kl(s, t, batch.mask, heads=self.relation_heads) for name, (s, t) in pairs.items()}


def _largest_divisor(number: int, maximum: int) -> int:
    return max(divisor for divisor in range(1, maximum + 1) if number % divisor == 0)
