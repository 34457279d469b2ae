"""GLMD: Tan, Tam, Wang, Gong, Zhao, Zhang and Tang 2023, arXiv 2306.06625."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from harness import (
    Batch,
    General,
    LossTerms,
    Method,
    MethodConfig,
    ModelOutputs,
    Needs,
    Search,
    Stage,
    Step,
    hookimpl,
)
from harness.api.batch import NOT_MASKED
from harness.api.losses import soft_target_loss

from .vocabulary import by_token, token_loss

OF_TEXT = ("lm_temperature", "lm_loss", "positions", "top_n", "masking")
"""Options of the text stage."""


class GLMDConfig(MethodConfig):
    """Options of glmd."""

    lm_temperature: float = Field(15.0, gt=0, description="text stage: temperature of lm_kd")
    lm_loss: Literal["kl", "mse"] = Field(
        "kl", description="text stage: divergence of the distributions, or squared difference of the logits"
    )
    positions: Literal["all", "masked"] = Field(
        "all", description="text stage: compare predictions at all real tokens, or at the masked ones"
    )
    top_n: int | None = Field(
        None, ge=1, description="text stage: compare only the teacher's n largest logits; default: the whole vocabulary"
    )
    masking: float = Field(0.0, ge=0, lt=1, description="text stage: share of the tokens to mask")
    temperature: Annotated[float, Search(1.0, 10.0, log=True)] = Field(
        1.0, gt=0, description="stage prediction: temperature of kd"
    )

    keyed_separately: ClassVar[frozenset[str]] = frozenset(OF_TEXT)

    @model_validator(mode="after")
    def _masked_positions_need_masking(self) -> GLMDConfig:
        if self.positions == "masked" and not self.masking:
            raise ValueError("positions is 'masked', but masking is 0, so that no token is; set masking, such as 0.15")
        return self


class GLMD(Method):
    """Text stage: predictions over the vocabulary; stage prediction: those of the task. No labels, no layers."""

    name = "glmd"
    summary = "predictions over the vocabulary on text, then those of the task, without labels (Tan et al. 2023)"
    group = "logits"
    citation = """@inproceedings{tan2023glmd,
  title = {Are Intermediate Layers and Labels Really Necessary? {A} General Language Model Distillation Method},
  author = {Tan, Shicheng and Tam, Weng Lam and Wang, Yuanchun and Gong, Wenwen and Zhao, Shu and Zhang, Peng
            and Tang, Jie},
  booktitle = {Findings of ACL},
  year = {2023}
}"""
    Config = GLMDConfig

    def general(self) -> General:
        stage = Stage("general", Needs(student=["logits"], teachers=[["logits"]]))
        options = {name: getattr(self.config, name) for name in OF_TEXT}
        return General(stage, masking=self.config.masking, options=options)

    def stages(self) -> Sequence[Stage]:
        return [Stage("prediction", Needs(student=["logits"], teachers=[["logits"]]))]

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        (teacher,) = teachers
        if step.stage.name == "prediction":
            return {"kd": soft_target_loss(student.logits, teacher.logits, batch, self.config.temperature)}
        loss = token_loss(self.config.lm_loss, self.config.lm_temperature, self.config.top_n)
        compared = batch.mask if self.config.positions == "all" else batch.labels != NOT_MASKED
        of_tokens = by_token(loss, student.logits, teacher.logits).masked_fill(~compared, 0)
        return {"lm_kd": (of_tokens.sum(-1) / compared.sum(-1).clamp(min=1)).mean()}


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(GLMD)
