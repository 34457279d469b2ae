"""FitNets, moved to encoders: Romero et al. 2015, arXiv 1412.6550."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

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
from harness.api.lazy_torch import nn
from harness.api.losses import projection, soft_cross_entropy, task_loss, token_mse
from harness.api.wording import counted


class FitNetsConfig(MethodConfig):
    """Options of fitnets."""

    guided_layer: int | None = Field(
        None, ge=1, description="student layer that learns from the hint; null: the middle layer"
    )
    hint_layer: int | None = Field(None, ge=1, description="teacher layer that gives the hint; null: the middle layer")
    temperature: Annotated[float, Search(1.0, 10.0, log=True)] = Field(
        3.0, gt=0, description="temperature of the soft targets, without a factor t^2"
    )
    kd_weight: float = Field(4.0, ge=0, description="weight of the soft targets at the start of the stage kd (lambda)")
    kd_weight_end: float = Field(
        1.0, ge=0, description="weight of the soft targets after the last step; linear in between"
    )


class FitNets(Method):
    """Stage hint: the lower student layers predict a middle layer of the teacher; stage kd: task + lambda * kd."""

    name = "fitnets"
    summary = "a hint for a middle layer, then soft targets (Romero et al. 2015)"
    group = "hidden states"
    citation = """@inproceedings{romero2015fitnets,
  title = {{FitNets}: Hints for Thin Deep Nets},
  author = {Romero, Adriana and Ballas, Nicolas and Kahou, Samira Ebrahimi and Chassang, Antoine and Gatta, Carlo
            and Bengio, Yoshua},
  booktitle = {Proceedings of ICLR},
  year = {2015}
}"""
    Config = FitNetsConfig

    def check(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> Sequence[Problem]:
        chosen = (("guided_layer", self.guided_layer, student), ("hint_layer", self.hint_layer, teachers[0]))
        return [
            Problem(f"{option} is {layer}, but {model.name} has {counted(model.layers, 'layer')}")
            for option, layer, model in chosen
            if layer > model.layers
        ]

    @property
    def guided_layer(self) -> int:
        """The student layer that learns from the hint."""
        return self.config.guided_layer or middle(self.student.layers)

    @property
    def hint_layer(self) -> int:
        """The teacher layer that gives the hint."""
        return self.config.hint_layer or middle(self.teachers[0].layers)

    def notes(self) -> Mapping[str, Any]:
        return {"guided_layer": self.guided_layer, "hint_layer": self.hint_layer}

    def stages(self) -> Sequence[Stage]:
        hint = Needs([f"hidden[{self.guided_layer}]"], [[f"hidden[{self.hint_layer}]"]])
        above = {f"layer[{layer}]" for layer in range(self.guided_layer + 1, self.student.layers + 1)}
        return [
            Stage("hint", hint, frozen=frozenset({*above, "head"})),
            Stage("kd", Needs(student=["logits"], teachers=[["logits"]])),
        ]

    def modules(self, student: ModelShape, teachers: Sequence[ModelShape]) -> nn.ModuleDict:
        return nn.ModuleDict({"regressor": projection(student.hidden, teachers[0].hidden)})

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        (teacher,) = teachers
        if step.stage.name == "hint":
            predicted = step.modules["regressor"](student.hidden[self.guided_layer])
            return {"hint": token_mse(predicted, teacher.hidden[self.hint_layer], batch.mask)}
        kd = soft_cross_entropy(student.logits, teacher.logits, batch, self.config.temperature)
        return {"task": task_loss(student.logits, batch), "kd": kd}

    def weights(self, step: Step) -> Mapping[str, float]:
        start, end = self.config.kd_weight, self.config.kd_weight_end
        return {"kd": start + (end - start) * step.progress}


def middle(layers: int) -> int:
    """The middle one of `layers` layers; of an even number, the lower one of the two."""
    return (layers + 1) // 2


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(FitNets)
