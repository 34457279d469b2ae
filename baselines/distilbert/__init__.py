"""DistilBERT: Sanh, Debut, Chaumond and Wolf 2019, arXiv 1910.01108."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import Field

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
    Search,
    Stage,
    Step,
    TaskInfo,
    hookimpl,
    layers,
)
from harness.api import losses as shared

WEIGHTS = {"mlm_kd": 5.0, "mlm": 2.0, "cosine": 1.0}
"""Weights of the terms of the text stage, from the authors' training command; the paper gives no numbers."""

MASKING = 0.15
"""Share of tokens to mask (Devlin et al. 2019, section 3.1)."""

SMOOTHING = 0.7
"""Exponent of token counts with `rare_tokens`, which masks rare tokens more often (authors' training command)."""


class DistilBERTConfig(MethodConfig):
    """Options of distilbert."""

    temperature: Annotated[float, Search(1.0, 10.0, log=True)] = Field(
        2.0, gt=0, description="temperature of the soft targets in both stages"
    )
    alpha: Annotated[float, Search(0.0, 0.9)] = Field(
        0.0, ge=0, le=1, description="weight of the soft targets in stage finetune; the labels have weight 1 - alpha"
    )
    rare_tokens: bool = Field(False, description="text stage: mask rare tokens more often, with weights count^-0.7")
    freeze_positions: bool = Field(False, description="text stage: freeze the position embeddings")

    keyed_separately: ClassVar[frozenset[str]] = frozenset({"rare_tokens", "freeze_positions"})


class DistilBERT(Method):
    """Text stage: 5 mlm_kd + 2 mlm + cosine; stage finetune: the labels, and soft targets if alpha > 0."""

    name = "distilbert"
    summary = "masked-language distillation on text, then the labels (Sanh et al. 2019)"
    group = "logits"
    citation = """@article{sanh2019distilbert,
  title = {{DistilBERT}, a distilled version of {BERT}: smaller, faster, cheaper and lighter},
  author = {Sanh, Victor and Debut, Lysandre and Chaumond, Julien and Wolf, Thomas},
  journal = {arXiv preprint arXiv:1910.01108},
  year = {2019}
}"""
    Config = DistilBERTConfig

    def check(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> Sequence[Problem]:
        (teacher,) = teachers
        if student.hidden == teacher.hidden:
            return ()
        widths = f"{student.name} has {student.hidden}, {teacher.name} has {teacher.hidden}"
        return [Problem(f"distilbert's cosine loss needs equal widths: {widths}")]

    def general(self) -> General:
        student = [*layers("hidden", [self.student.layers]), "logits"]
        needs = Needs(student=student, teachers=[[*layers("hidden", [self.teachers[0].layers]), "logits"]])
        frozen = frozenset({"position_embeddings"} if self.config.freeze_positions else ())
        return General(
            Stage("general", needs, frozen=frozen),
            masking=MASKING,
            smoothing=SMOOTHING if self.config.rare_tokens else 0.0,
            options={"temperature": self.config.temperature},
        )

    def stages(self) -> Sequence[Stage]:
        teachers = [["logits"]] if self.config.alpha else []
        return [Stage("finetune", Needs(student=["logits"], teachers=teachers))]

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        if step.stage.name == "general":
            return self._general(batch, student, *teachers)
        task = {"task": shared.task_loss(student.logits, batch)}
        if not teachers:
            return task
        (teacher,) = teachers
        return task | {"kd": shared.soft_target_loss(student.logits, teacher.logits, batch, self.config.temperature)}

    def weights(self, step: Step) -> Mapping[str, float]:
        if step.stage.name == "general":
            return WEIGHTS
        return {"kd": self.config.alpha, "task": 1 - self.config.alpha}

    def _general(self, batch: Batch, student: ModelOutputs, teacher: ModelOutputs) -> LossTerms:
        student_last = student.hidden[self.student.layers]
        teacher_last = teacher.hidden[self.teachers[0].layers]
        return {
            "mlm_kd": shared.token_kl(student.logits, teacher.logits, batch.mask, self.config.temperature),
            "mlm": shared.masked_lm_loss(student.logits, batch),
            "cosine": shared.token_cosine(student_last, teacher_last, batch.mask),
        }


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(DistilBERT)
