"""Teacher assistant knowledge distillation: Mirzadeh et al. 2020, arXiv 1902.03393, section 3."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field

from harness import Batch, LossTerms, Method, MethodConfig, ModelOutputs, Needs, Search, Stage, Step, hookimpl
from harness.api.losses import soft_target_loss, task_loss


class TAKDConfig(MethodConfig):
    """Options of takd. The paper searches temperature and weight for each task; the defaults are those of GLMKD."""

    temperature: Annotated[float, Search(1.0, 20.0, log=True)] = Field(
        10.0, gt=0, description="temperature tau of the soft targets; kd is multiplied by its square"
    )
    kd_weight: Annotated[float, Search(0.1, 1.0)] = Field(
        0.5, ge=0, le=1, description="lambda: weight of the soft targets; the labels have weight 1 - lambda"
    )
    kd_scale: Literal["paper", "code"] = Field(
        "paper",
        description="code: kd of a classification task is divided by the number of classes, as in the authors'"
        " element-wise mean",
    )


class TAKD(Method):
    """One step of the chain: the loss (1 - lambda) * task + lambda * kd, from the teacher or from an assistant.

    The suite states the chain: a teacher of a row is the student of another row.
    """

    name = "takd"
    summary = "soft targets from a teacher assistant, a student of another row (Mirzadeh et al. 2020)"
    group = "progressive"
    citation = """@inproceedings{mirzadeh2020improved,
  title = {Improved Knowledge Distillation via Teacher Assistant},
  author = {Mirzadeh, Seyed Iman and Farajtabar, Mehrdad and Li, Ang and Levine, Nir and Matsukawa, Akihiro and
            Ghasemzadeh, Hassan},
  booktitle = {Proceedings of AAAI},
  year = {2020}
}"""
    Config = TAKDConfig

    def stages(self) -> Sequence[Stage]:
        return [Stage("distill", Needs(student=["logits"], teachers=[["logits"]]))]

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        (teacher,) = teachers
        return {
            "task": task_loss(student.logits, batch),
            "kd": soft_target_loss(student.logits, teacher.logits, batch, self.config.temperature),
        }

    def weights(self, step: Step) -> Mapping[str, float]:
        kd = self.config.kd_weight
        if self.config.kd_scale == "code" and self.task.kind == "classification":
            kd /= self.task.num_labels
        return {"task": 1 - self.config.kd_weight, "kd": kd}


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(TAKD)
