"""R-Drop: Liang, Wu, Li, Wang, Meng, Qin, Chen, Zhang and Liu 2021, arXiv 2106.14448."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from harness import Batch, LossTerms, Method, MethodConfig, ModelOutputs, Needs, Search, Stage, Step, hookimpl
from harness.api.losses import kl_loss, task_loss

if TYPE_CHECKING:
    from torch import Tensor


class RDropConfig(MethodConfig):
    """Options of rdrop."""

    alpha: Annotated[float, Search(0.1, 20.0, log=True)] = Field(
        1.0, ge=0, description="weight of the divergence between both passes (paper, GLUE: 0.1, 0.5, 1)"
    )
    kl_scale: Literal["paper", "code"] = Field(
        "paper",
        description="paper: the divergence is a mean over examples, as in equation 4; code: their sum, as in the"
        " authors' BERT for GLUE, which multiplies it by the batch size",
    )

    added_later: ClassVar[frozenset[str]] = frozenset({"kl_scale"})


class RDrop(Method):
    """The loss task + alpha * kl (equation 4); no teacher: each pass of the student learns from the other.

    The sum over examples of `kl_scale` "code" depends on the size of the batch, which then is not split.
    """

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
        coupled = frozenset({"kl"}) if self._sums else frozenset()
        return [Stage("finetune", Needs(student=["logits"]), batch_dependent=coupled)]

    @property
    def _sums(self) -> bool:
        """Whether `kl` is a sum over examples. Squared differences are means in the authors' code, too."""
        return bool(self.config.kl_scale == "code" and self.task.kind != "regression")

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        first, second = student.logits, step.student.run(["logits"]).logits
        kl = _symmetric_kl(first, second, batch)
        return {
            "task": task_loss(first, batch) + task_loss(second, batch),
            "kl": len(batch.ids) * kl if self._sums else kl,
        }

    def weights(self, step: Step) -> Mapping[str, float]:
        return {"kl": self.config.alpha}


def _symmetric_kl(first: Tensor, second: Tensor, batch: Batch) -> Tensor:
    """The mean of the divergences in both directions, with gradients for both passes (equation 2)."""
    return (kl_loss(first, second, batch) + kl_loss(second, first, batch)) / 2


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(RDrop)
