"""Continuation-KD: Jafari et al. 2022, arXiv 2212.05998."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field

from harness import Batch, LossTerms, Method, MethodConfig, ModelOutputs, Needs, Search, Stage, Step, hookimpl
from harness.api.losses import mean_over_distributions, squared_logit_distances, task_loss

ONLY_LABELS_FROM = 2 / 3
"""Share of the steps after which only the labels count."""

PSI_SLOPE = 0.75
"""Growth of the labels' weight with the share of steps done: i / 40 in epoch i of 30."""


class ContinuationKDConfig(MethodConfig):
    """Options of continuation_kd."""

    max_temperature: int = Field(
        10,
        ge=1,
        description="first temperature, which falls to 1 in steps of 1; the teacher's logits and the margin are"
        " multiplied by phi = 1 - (T - 1) / max_temperature",
    )
    margin: Annotated[float, Search(0.1, 10.0, log=True)] = Field(
        1.0, ge=0, description="squared distances below margin * phi count as 0"
    )
    reduction: Literal["sum", "mean"] = Field(
        "sum", description="sum or mean of the squared differences over the classes, before the margin"
    )


class ContinuationKD(Method):
    """The loss psi * task + (1 - psi) * hinge, hinge = max(0, ||z_S - phi z_T||^2 - margin * phi)."""

    name = "continuation_kd"
    summary = "logits of a growing teacher beyond a margin, moving to the labels (Jafari et al. 2022)"
    group = "progressive"
    citation = """@inproceedings{jafari2022continuation,
  title = {Continuation {KD}: Improved Knowledge Distillation through the Lens of Continuation Optimization},
  author = {Jafari, Aref and Kobyzev, Ivan and Rezagholizadeh, Mehdi and Poupart, Pascal and Ghodsi, Ali},
  booktitle = {Findings of EMNLP},
  year = {2022}
}"""
    Config = ContinuationKDConfig

    def stages(self) -> Sequence[Stage]:
        return [Stage("distill", Needs(student=["logits"], teachers=[["logits"]]))]

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        phi = teacher_factor(step, self.config.max_temperature)
        step.log("phi", phi)
        step.log("psi", psi(step))
        distances = squared_logit_distances(student.logits, phi * teachers[0].logits, batch, self.config.reduction)
        hinge = (distances - self.config.margin * phi).clamp(min=0)
        return {"hinge": mean_over_distributions(hinge, batch), "task": task_loss(student.logits, batch)}

    def weights(self, step: Step) -> Mapping[str, float]:
        return {"task": psi(step), "hinge": 1 - psi(step)}


def psi(step: Step) -> float:
    """The weight of the labels."""
    return PSI_SLOPE * step.progress if step.progress <= ONLY_LABELS_FROM else 1.0


def teacher_factor(step: Step, max_temperature: int) -> float:
    """phi = 1 - (T - 1) / max_temperature, T = max_temperature, ..., 2, 1, each for an equal share of the steps."""
    temperature = -(-(step.steps - step.index) * max_temperature // step.steps)  # rounded up, in integers
    return 1 - (temperature - 1) / max_temperature


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(ContinuationKD)
