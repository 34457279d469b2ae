"""Annealing-KD: Jafari et al. 2021, arXiv 2104.07163."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import Field

from harness import Batch, LossTerms, Method, MethodConfig, ModelOutputs, Needs, Stage, Step, hookimpl
from harness.api.losses import mean_over_distributions, squared_logit_distances, task_loss


class AnnealingKDConfig(MethodConfig):
    """Options of annealing_kd."""

    max_temperature: int = Field(
        7,
        ge=1,
        description="first temperature of the stage anneal, which falls to 1 in steps of 1; the teacher's logits are"
        " multiplied by 1 - (T - 1) / max_temperature; 1: the logits themselves, all the time",
    )
    reduction: Literal["sum", "mean"] = Field(
        "sum", description="sum or mean of the squared differences over the classes"
    )


class AnnealingKD(Method):
    """Stage anneal: ||z_S - phi z_T||^2, with phi growing to 1; stage labels: the labels alone."""

    name = "annealing_kd"
    summary = "logits of a teacher that grow to full size, then labels (Jafari et al. 2021)"
    group = "progressive"
    citation = """@inproceedings{jafari2021annealing,
  title = {Annealing Knowledge Distillation},
  author = {Jafari, Aref and Rezagholizadeh, Mehdi and Sharma, Pranav and Ghodsi, Ali},
  booktitle = {Proceedings of EACL},
  year = {2021}
}"""
    Config = AnnealingKDConfig

    def stages(self) -> Sequence[Stage]:
        return [
            Stage("anneal", Needs(student=["logits"], teachers=[["logits"]]), share=5),
            Stage("labels", Needs(student=["logits"]), share=1, starts_from="best"),
        ]

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        if step.stage.name == "labels":
            return {"task": task_loss(student.logits, batch)}
        phi = teacher_factor(step, self.config.max_temperature)
        step.log("phi", phi)
        distances = squared_logit_distances(student.logits, phi * teachers[0].logits, batch, self.config.reduction)
        return {"anneal": mean_over_distributions(distances, batch)}


def teacher_factor(step: Step, max_temperature: int) -> float:
    """phi = 1 - (T - 1) / max_temperature, T = max_temperature, ..., 2, 1, each for an equal share of the stage."""
    temperature = -(-(step.steps - step.index) * max_temperature // step.steps)  # rounded up, in integers
    return 1 - (temperature - 1) / max_temperature


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(AnnealingKD)
