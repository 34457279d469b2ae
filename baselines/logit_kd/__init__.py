"""Knowledge distillation on logits: Hinton, Vinyals and Dean 2015, arXiv 1503.02531, section 2."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

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
    hookimpl,
)
from harness.api.losses import full_precision, soft_target_loss, task_loss

if TYPE_CHECKING:
    from torch import Tensor

LEAST_STD = 1e-3
"""The least standard deviation that logits are divided by: it bounds the gradient where all logits are nearly equal."""


class LogitKDConfig(MethodConfig):
    """Options of logit_kd."""

    temperature: Annotated[float, Search(1.0, 20.0, log=True)] = Field(
        4.0, gt=0, description="temperature of the soft targets; kd is multiplied by its square"
    )
    alpha: Annotated[float, Search(0.1, 1.0)] = Field(
        0.5, ge=0, le=1, description="weight of the soft targets; the labels have weight 1 - alpha"
    )
    standardize: bool = Field(
        False, description="kd compares logits of mean 0 and standard deviation 1; for three classes or more"
    )

    added_later: ClassVar[frozenset[str]] = frozenset({"standardize"})


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

    def check(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> Sequence[Problem]:
        if not self.config.standardize or (
            task.kind in ("classification", "token_classification") and task.num_labels > 2
        ):
            return []
        classes = f" with {task.num_labels} classes" if "classification" in task.kind else ""
        return [
            Problem(
                f"standardize needs logits of three classes or more, and {task.name} is a {task.kind} task{classes}"
                " (standardized, two logits are always 1 and -1, without a gradient): leave it out for this task"
            )
        ]

    def stages(self) -> Sequence[Stage]:
        return [Stage("distill", Needs(student=["logits"], teachers=[["logits"]]))]

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        (teacher,) = teachers
        own, theirs = student.logits, teacher.logits
        if self.config.standardize:
            own, theirs = _standardized(own), _standardized(theirs)
        kd = soft_target_loss(own, theirs, batch, self.config.temperature)
        return {"kd": kd, "task": task_loss(student.logits, batch)}

    def weights(self, step: Step) -> Mapping[str, float]:
        return {"kd": self.config.alpha, "task": 1 - self.config.alpha}


def _standardized(logits: Tensor) -> Tensor:
    """(z - mean) / std over the last axis of `logits`, in at least float32 (Sun et al. 2024, arXiv 2403.01427)."""
    logits = full_precision(logits)
    centred = logits - logits.mean(-1, keepdim=True)
    return centred * centred.square().mean(-1, keepdim=True).clamp(min=LEAST_STD**2).rsqrt()


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(LogitKD)
