"""BERT-of-Theseus: Xu et al. 2020, arXiv 2002.02925."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from harness import (
    Batch,
    Choices,
    LossTerms,
    Method,
    MethodConfig,
    ModelOutputs,
    ModelShape,
    Needs,
    Problem,
    Stage,
    Step,
    TaskInfo,
    UserError,
    hookimpl,
)
from harness.api.live import StateFunction
from harness.api.losses import task_loss
from harness.api.seeded_choice import SeededChoice
from harness.api.seeds import derive

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class TheseusConfig(MethodConfig):
    """Options of theseus."""

    schedule: Literal["linear", "constant"] = Field(
        "linear", description="how the replacing rate rises to 1 at `end`: linearly from b, or at once"
    )
    b: Annotated[float, Choices(0.1, 0.3, 0.5, 0.7)] = Field(
        0.3, gt=0, le=1, description="replacing rate at the first step"
    )
    end: float = Field(
        0.66, ge=0, le=1, description="share of the steps after which only student layers are in the network"
    )
    unfreeze_last: bool = Field(False, description="train embeddings and head, too, once the replacing rate is 1")


class Theseus(Method):
    """The task loss of a network that has, in each block, either the student's layer or the teacher's layers."""

    name = "theseus"
    summary = "blocks of teacher layers are replaced by student layers at random (Xu et al. 2020)"
    group = "progressive"
    citation = """@inproceedings{xu2020bert,
  title = {{BERT-of-Theseus}: Compressing {BERT} by Progressive Module Replacing},
  author = {Xu, Canwen and Zhou, Wangchunshu and Ge, Tao and Wei, Furu and Zhou, Ming},
  booktitle = {Proceedings of EMNLP},
  year = {2020}
}"""
    Config = TheseusConfig

    def check(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> Sequence[Problem]:
        (teacher,) = teachers
        problems = [
            Problem(
                f"theseus replaces layers, and a {model.model_type} encoder ({model.name}) has no sequence of layers"
            )
            for model in (student, teacher)
            if "hidden" in model.missing
        ]
        if teacher.layers % student.layers:
            problems.append(
                Problem(
                    "theseus replaces blocks of equal size, so the student's depth must divide the teacher's:"
                    f" {student.name} has {student.layers} layers, {teacher.name} has {teacher.layers}"
                )
            )
        for size in ("hidden", "heads", "ffn", "model_type"):
            own, theirs = getattr(student, size), getattr(teacher, size)
            if own != theirs:
                problems.append(
                    Problem(
                        "theseus puts layers of student and teacher into one network, which needs an equal"
                        f" {size}: {student.name} has {own}, {teacher.name} has {theirs}"
                    )
                )
        return problems

    def initialize(self, student: PreTrainedModel, teachers: Sequence[PreTrainedModel]) -> None:
        """Copy the teacher's embeddings, its first layers and its head."""
        own, theirs = student.state_dict(), teachers[0].state_dict()
        for name, weight in own.items():
            if name not in theirs or theirs[name].shape != weight.shape:
                found = tuple(theirs[name].shape) if name in theirs else "missing"
                raise UserError(
                    f"theseus gives the student the weights of its teacher, but {name} is {tuple(weight.shape)} in the"
                    f" student and {found} in the teacher; use a student of the teacher's family and vocabulary"
                )
        student.load_state_dict({name: theirs[name] for name in own})

    def stages(self) -> Sequence[Stage]:
        frozen = frozenset() if self.config.unfreeze_last else frozenset({"embeddings", "head"})
        return [Stage("replace", Needs(), live=True, frozen=frozen)]

    def learning_rates(self, step: Step) -> Mapping[str, float]:
        """Embeddings and head are frozen before the replacing rate is 1."""
        return {"embeddings": 0.0, "head": 0.0} if self.config.unfreeze_last and self.rate(step) < 1 else {}

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        replaced, redraws = self._draw(step)
        step.log("replacing_rate", self.rate(step))
        step.log("student_layers", len(replaced))
        step.log("redraws", redraws)
        logits = step.student.run(["logits"], layers=self._teacher_blocks(step, replaced)).logits
        return {"task": task_loss(logits, batch)}

    def rate(self, step: Step) -> float:
        """The probability of a student layer in each block."""
        if step.progress >= self.config.end:
            return 1.0
        rising = (1 - self.config.b) * step.progress / self.config.end if self.config.schedule == "linear" else 0.0
        return float(self.config.b + rising)

    def _draw(self, step: Step) -> tuple[list[int], int]:
        """The blocks that have the student's layer in this step, and the number of draws that had none.

        The same for all parts of the batch. The student would get no gradient from a draw without a block, so it is
        repeated. Seeded by the step: numbers of `step.generator` are tensors, and reading them is a synchronization.
        """
        choice, rate = SeededChoice(derive(self.seed, "blocks", str(step.index))), self.rate(step)
        redraws = 0
        while not (drawn := [m for m in range(1, self.student.layers + 1) if choice.chance(rate)]):
            redraws += 1
        return drawn, redraws

    def _teacher_blocks(self, step: Step, replaced: Sequence[int]) -> dict[int, StateFunction]:
        """The blocks of teacher layers that take the place of student layers."""
        kept = [m for m in range(1, self.student.layers + 1) if m not in replaced]
        if not kept:
            return {}
        (teacher,) = step.teachers
        size = self.teachers[0].layers // self.student.layers
        functions = teacher.layers
        return {m: _composed([functions[(m - 1) * size + i] for i in range(1, size + 1)]) for m in kept}

    def notes(self) -> Mapping[str, Any]:
        return {"block_size": self.teachers[0].layers // self.student.layers}


def _composed(layers: Sequence[StateFunction]) -> StateFunction:
    def block(states: Tensor) -> Tensor:
        for layer in layers:
            states = layer(states)
        return states

    return block


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(Theseus)
