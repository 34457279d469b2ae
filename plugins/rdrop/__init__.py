"""R-Drop: Liang, Wu, Li, Wang, Meng, Qin, Chen, Zhang and Liu 2021, arXiv 2106.14448."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from harness import Batch, LossTerms, Method, MethodConfig, ModelOutputs, Needs, Search, Stage, Step, hookimpl
from harness.api.losses import kl_loss, task_loss

if TYPE_CHECKING:
    from torch import Tensor


class RDropConfig(MethodConfig):
    """Options of rdrop."""

    alpha: Annotated[float, Search(0.1, 5.0, log=True)] = Field(
        1.0, ge=0, description="weight of the divergence between both passes (paper, GLUE: 0.1, 0.5, 1)"
    )


class RDrop(Method):
    """The loss task + alpha * kl (equation 4); no teacher: each pass of the student learns from the other."""

    name = "rdrop"
    summary = "two passes with other dropout agree with each other, without a teacher (Liang et al. 2021)"
    group = "self-distillation"
    citation = """@inproceedings{liang2021rdrop,
  title = {{R-Drop}: Regularized Dropout for Neural Networks},
  author = {Liang, Xiaobo and Wu, Lijun and Li, Juntao and Wang, Yue and Meng, Qi and Qin, Tao and Chen, Wei
            and Zhang, Min and Liu, Tie-Yan},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2021}
}"""
    min_teachers = max_teachers = 0
    Config = RDropConfig

    def stages(self) -> Sequence[Stage]:
        return [Stage("finetune", Needs(student=["logits"]))]

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        first, second = student.logits, step.student.run(["logits"]).logits
        return {
            "task": task_loss(first, batch) + task_loss(second, batch),
            "kl": _symmetric_kl(first, second, batch),
        }

    def weights(self, step: Step) -> Mapping[str, float]:
        return {"kl": self.config.alpha}


def _symmetric_kl(first: Tensor, second: Tensor, batch: Batch) -> Tensor:
    """The mean of the divergences in both directions, with gradients for both passes (equation 2)."""
    return (kl_loss(first, second, batch) + kl_loss(second, first, batch)) / 2


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(RDrop)
