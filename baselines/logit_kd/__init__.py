"""Knowledge distillation on logits: Hinton, Vinyals and Dean 2015, arXiv 1503.02531, section 2."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

from pydantic import Field

from harness import Batch, LossTerms, Method, MethodConfig, ModelOutputs, Needs, Search, Stage, Step, hookimpl
from harness.api.losses import soft_target_loss, task_loss


class LogitKDConfig(MethodConfig):
    """Options of logit_kd."""

    temperature: Annotated[float, Search(1.0, 20.0, log=True)] = Field(
        4.0, gt=0, description="temperature of the soft targets; kd is multiplied by its square"
    )
    alpha: Annotated[float, Search(0.1, 1.0)] = Field(
        0.5, ge=0, le=1, description="weight of the soft targets; the labels have weight 1 - alpha"
    )


class LogitKD(Method):
    """The loss alpha * kd + (1 - alpha) * task, with kd = t^2 KL(softmax(z_T / t) || softmax(z_S / t))."""

    name = "logit_kd"
    summary = "soft targets from the teacher's logits (Hinton et al. 2015)"
    group = "logits"
    citation = """@article{hinton2015distilling,
  title = {Distilling the Knowledge in a Neural Network},
  author = {Hinton, Geoffrey and Vinyals, Oriol and Dean, Jeff},
  journal = {arXiv preprint arXiv:1503.02531},
  year = {2015}
}"""
    Config = LogitKDConfig

    def stages(self) -> Sequence[Stage]:
        return [Stage("distill", Needs(student=["logits"], teachers=[["logits"]]))]

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        (teacher,) = teachers
        kd = soft_target_loss(student.logits, teacher.logits, batch, self.config.temperature)
        return {"kd": kd, "task": task_loss(student.logits, batch)}

    def weights(self, step: Step) -> Mapping[str, float]:
        return {"kd": self.config.alpha, "task": 1 - self.config.alpha}


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(LogitKD)
