"""Causal distillation by interchange interventions: Wu et al. 2022, arXiv 2112.02505."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
    Search,
    Stage,
    Step,
    TaskInfo,
    hookimpl,
    layers,
)
from harness.api.device_transfer import to_device
from harness.api.lazy_torch import torch
from harness.api.losses import soft_target_loss, task_loss, token_cosine
from harness.api.seeded_choice import SeededChoice
from harness.api.seeds import derive

if TYPE_CHECKING:
    from torch import Tensor


class DIITOConfig(MethodConfig):
    """Options of diito; the defaults are those of the authors' task-specific code."""

    alpha: Annotated[float, Choices(0.5, 0.7, 0.9)] = Field(
        0.7, ge=0, le=1, description="weight of kd; the labels have weight 1 - alpha"
    )
    causal_weight: Annotated[float, Search(0.1, 10, log=True)] = Field(1.0, ge=0, description="weight of causal_kd")
    cos_weight: float = Field(0.0, ge=0, description="weight of cos; 0: without it")
    causal_cos_weight: float = Field(0.0, ge=0, description="weight of causal_cos; 0: without it")
    temperature: Annotated[float, Choices(5.0, 10.0, 20.0)] = Field(
        20.0, gt=0, description="temperature of the soft targets"
    )
    alignment: Literal["full", "middle", "late"] = Field(
        "full", description="aligned student layers: all, of which a step draws one; the middle one; the last one"
    )
    share: float = Field(0.3, gt=0, le=1, description="share of the shorter example's tokens that is swapped")
    positions: Literal["scattered", "span"] = Field("scattered", description="swapped tokens: scattered, or a span")
    pairing: Literal["random", "roll"] = Field(
        "random", description="the source of an example: a random one of the batch, or the next one"
    )
    detach_source: bool = Field(False, description="no gradients through the source's states of the student")


class DIITO(Method):
    """The loss (1 - alpha) * task + alpha * kd + causal_weight * causal_kd."""

    name = "diito"
    summary = "soft targets, also where states of another example are swapped in (Wu et al. 2022)"
    group = "hidden states"
    citation = """@inproceedings{wu2022causal,
  title = {Causal Distillation for Language Models},
  author = {Wu, Zhengxuan and Geiger, Atticus and Rozner, Joshua and Kreiss, Elisa and Lu, Hanson and Icard, Thomas and
            Potts, Christopher and Goodman, Noah},
  booktitle = {Proceedings of NAACL},
  year = {2022}
}"""
    Config = DIITOConfig

    def check(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> Sequence[Problem]:
        (teacher,) = teachers
        problems = [
            Problem(f"diito swaps hidden states, which cannot be captured from {model.name}")
            for model in (student, teacher)
            if "hidden" in model.missing
        ]
        if teacher.layers % student.layers:
            problems.append(
                Problem(
                    "diito aligns a student layer with a block of teacher layers, so the student's depth must divide"
                    f" the teacher's: {student.name} has {student.layers} layers, {teacher.name} has {teacher.layers}"
                )
            )
        if self._cosines and student.hidden != teacher.hidden:
            widths = f"{student.name} has {student.hidden}, {teacher.name} has {teacher.hidden}"
            problems.append(Problem(f"cos compares hidden states, which needs equal widths: {widths}"))
        return problems

    @property
    def _cosines(self) -> bool:
        return bool(self.config.cos_weight or self.config.causal_cos_weight)

    @property
    def _causal(self) -> bool:
        """Whether states are swapped. Of a question, only tokens of one kind could be; that is not tested."""
        return self.task.kind != "qa"

    @property
    def aligned(self) -> list[int]:
        """The student layers whose states may be swapped."""
        last = self.student.layers
        return {"full": list(range(1, last + 1)), "middle": [(last + 1) // 2], "late": [last]}[self.config.alignment]

    def block(self, layer: int) -> list[int]:
        """The teacher layers that a student layer is aligned with."""
        size = self.teachers[0].layers // self.student.layers
        return list(range((layer - 1) * size + 1, layer * size + 1))

    def notes(self) -> Mapping[str, Any]:
        if not self._causal:
            return {"causal_kd": "off for QA"}
        return {"blocks": {str(layer): self.block(layer) for layer in self.aligned}}

    def stages(self) -> Sequence[Stage]:
        own, theirs = {"logits"}, {"logits"}
        if self.config.cos_weight:
            own.add(self._last(self.student))
            theirs.add(self._last(self.teachers[0]))
        if not self._causal:
            return [Stage("distill", Needs(own, [theirs]))]
        own.update(layers("hidden", self.aligned))
        coupled = {"causal_kd"} | ({"causal_cos"} if self.config.causal_cos_weight else set())
        return [Stage("distill", Needs(own, [theirs]), live=True, batch_dependent=frozenset(coupled))]

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        (teacher,) = teachers
        terms = {
            "task": task_loss(student.logits, batch),
            "kd": soft_target_loss(student.logits, teacher.logits, batch, self.config.temperature),
        }
        if self.config.cos_weight:
            terms["cos"] = self._cosine(student, teacher, batch)
        return terms | (self._causal_terms(step, batch, student) if self._causal else {})

    def weights(self, step: Step) -> Mapping[str, float]:
        weights = {"task": 1 - self.config.alpha, "kd": self.config.alpha, "cos": self.config.cos_weight}
        if self._causal:
            weights |= {"causal_kd": self.config.causal_weight, "causal_cos": self.config.causal_cos_weight}
        return weights

    def _causal_terms(self, step: Step, batch: Batch, student: ModelOutputs) -> dict[str, Tensor]:
        """The terms between the outputs of both models with swapped states."""
        layer = SeededChoice(derive(self.seed, "aligned layer", str(step.index))).pick(self.aligned)
        swap = self._draw_swap(batch, step.generator)
        states = student.hidden[layer]
        source = states.detach() if self.config.detach_source else states
        needs = {"logits"} | ({self._last(self.student)} if self.config.causal_cos_weight else set())
        patches = {f"hidden[{layer}]": lambda base: swap.into(base, source)}
        own = step.student.run(needs, patches=patches)
        theirs = self._patched_teacher(step, layer, swap)
        step.log("swapped_layer", layer)
        terms = {"causal_kd": soft_target_loss(own.logits, theirs.logits, batch, self.config.temperature)}
        if self.config.causal_cos_weight:
            terms["causal_cos"] = self._cosine(own, theirs, batch)
        return terms

    def _patched_teacher(self, step: Step, layer: int, swap: Swap) -> ModelOutputs:
        """The teacher's outputs with states swapped after each layer of the block aligned with `layer`."""
        (teacher,) = step.teachers
        names = layers("hidden", self.block(layer))
        with torch.no_grad():
            sources = teacher.run(names).hidden
            patches = {
                name: lambda base, source=sources[i]: swap.into(base, source)
                for name, i in zip(names, self.block(layer), strict=True)
            }
            needs = {"logits"} | ({self._last(self.teachers[0])} if self.config.causal_cos_weight else set())
            return teacher.run(needs, patches=patches)

    def _draw_swap(self, batch: Batch, generator: torch.Generator) -> Swap:
        """Draw the source of each example, and the positions to swap in both: the same number of real tokens."""
        examples, device = len(batch.ids), batch.mask.device
        rows = torch.arange(examples)
        sources = torch.randperm(examples, generator=generator) if self.config.pairing == "random" else rows.roll(-1)
        sources = to_device(sources, device)
        lengths = batch.lengths
        counts = torch.tensor([int(self.config.share * n) for n in range(batch.mask.shape[1] + 1)])
        count = to_device(counts, device)[torch.minimum(lengths, lengths[sources])]  # of the shorter example
        into, out_of = (self._places(batch.mask[of], count, generator) for of in (to_device(rows, device), sources))
        # The last column takes what is not swapped.
        empty = torch.zeros(examples, batch.mask.shape[1] + 1, dtype=torch.long, device=device)
        chosen = empty.scatter(1, into, 1)[:, :-1].bool()
        return Swap(sources, chosen, empty.scatter(1, into, out_of)[:, :-1].masked_fill(~chosen, 0))

    def _places(self, mask: Tensor, count: Tensor, generator: torch.Generator) -> Tensor:
        """Draw `count` [B] real tokens (`mask`, bool [B, N]) of each example: their positions in order, then N, [B, N].

        There is no synchronization with the device.
        """
        examples, tokens = mask.shape
        draws = to_device(torch.rand(examples, tokens, generator=generator), mask.device)
        places = torch.arange(tokens, device=mask.device).expand(examples, tokens)
        beyond = places >= count.unsqueeze(-1)
        if self.config.positions == "span":
            begins = (draws[:, :1] * (mask.sum(-1) - count + 1).unsqueeze(-1)).long()
            return (begins + places).masked_fill(beyond, tokens)
        order = draws.masked_fill(~mask, 2.0).argsort(-1)
        return order.masked_fill(beyond, tokens).sort(-1).values

    @staticmethod
    def _last(model: ModelShape) -> str:
        return f"hidden[{model.layers}]"

    def _cosine(self, student: ModelOutputs, teacher: ModelOutputs, batch: Batch) -> Tensor:
        own, theirs = student.hidden[self.student.layers], teacher.hidden[self.teachers[0].layers]
        return token_cosine(own, theirs, batch.mask)


@dataclass(frozen=True)
class Swap:
    """States to take from another example.

    Attributes:
        sources: the source of each example, int64 [B].
        chosen: the positions whose states are replaced, bool [B, N].
        origin: their positions in the source, int64 [B, N].
    """

    sources: Tensor
    chosen: Tensor
    origin: Tensor

    def into(self, base: Tensor, source: Tensor) -> Tensor:
        """`base` [B, N, H] with the states of `source`, the unpatched states of the same layer."""
        index = self.origin.unsqueeze(-1).expand_as(source)
        taken = source[self.sources].gather(1, index)
        return torch.where(self.chosen.unsqueeze(-1), taken, base)


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(DIITO)
