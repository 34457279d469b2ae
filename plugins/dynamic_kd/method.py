"""Dynamic KD: the student's uncertainty decides which teacher, which data and which objective an example learns from.

Terms that have a weight for each example contain it, since the weights of terms are equal for all examples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
    layers,
)
from harness.api import layer_mapping
from harness.api.device_transfer import to_device
from harness.api.lazy_torch import nn, torch
from harness.api.losses import projection, task_loss, unit_vectors

from . import uncertainty as measures

if TYPE_CHECKING:
    from torch import Tensor


class DynamicKDConfig(MethodConfig):
    """Options of dynamic_kd."""

    part: Literal["adopt", "data", "objective"] = Field(
        "adopt",
        description="what the student's uncertainty decides: adopt: which teacher; data: on which examples it learns"
        " from the teacher; objective: whether from its predictions or its hidden states",
    )
    strategy: Literal["soft", "hard", "none"] = Field(
        "soft",
        description="adopt, objective: soft: a weight for each example; none: equal weights; adopt only: hard: the most"
        " uncertain examples of a batch learn from the first teacher, and so on",
    )
    select: Literal["margin", "entropy", "confidence", "random"] = Field(
        "margin", description="data: the examples to keep: by the smallest margin, highest entropy, lowest confidence"
    )
    ratio: float = Field(0.5, gt=0, le=1, description="data: share of the batch to keep (authors' scripts: 0.5)")
    form: Literal["mse", "kl"] = Field(
        "mse", description="kd is the squared difference of the logits (authors' scripts), or t^2 KL at a temperature"
    )
    temperature: float = Field(5.0, gt=0, description="temperature of form kl (authors' code: 5)")
    task_weight: float = Field(1.0, ge=0, description="weight of task")
    kd_weight: Annotated[float, Search(0.1, 10.0, log=True)] = Field(1.0, ge=0, description="weight of every kd term")
    rep_weight: float = Field(1.0, ge=0, description="objective: weight of rep")
    detach_uncertainty: bool = Field(True, description="no gradient through the uncertainty")
    qa_uncertainty: bool = Field(
        False, description="QA: the uncertainty of start and end, averaged; false: equal weights, all examples"
    )


class DynamicKD(Method):
    """The loss task + kd from several teachers, on part of the data, or together with hidden states."""

    name = "dynamic_kd"
    summary = "teacher, data or objective chosen by the student's uncertainty (Li et al. 2021)"
    group = "multi-teacher"
    citation = """@inproceedings{li2021dynamic,
  title = {Dynamic Knowledge Distillation for Pre-trained Language Models},
  author = {Li, Lei and Lin, Yankai and Ren, Shuhuai and Li, Peng and Zhou, Jie and Sun, Xu},
  booktitle = {Proceedings of EMNLP},
  year = {2021}
}"""
    max_teachers = None
    Config = DynamicKDConfig

    def check(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> Sequence[Problem]:
        problems = []
        if self.config.strategy == "hard" and self.config.part != "adopt":
            message = "strategy 'hard' divides a batch among teachers, so it needs part 'adopt'"
            problems.append(Problem(f"{message}, not {self.config.part!r}"))
        if self.config.part == "objective":
            checks = ((t, layer_mapping.check("uniform", student.layers, t.layers)) for t in teachers)
            problems += [Problem(f"{t.name}: {problem.message}") for t, problem in checks if problem]
        return problems

    @property
    def _measurable(self) -> bool:
        """Whether the uncertainty of the predictions is defined, and wanted."""
        return self.task.kind != "regression" and (self.task.kind != "qa" or self.config.qa_uncertainty)

    @property
    def _strategy(self) -> str:
        return self.config.strategy if self._measurable else "none"

    @property
    def _selects(self) -> bool:
        """Whether part of a batch is kept."""
        return self.config.part == "data" and (self._measurable or self.config.select == "random")

    @property
    def layer_maps(self) -> tuple[tuple[int, ...], ...]:
        """For each teacher, the layers that the student's learn from, from 0, the embeddings; only for objective."""
        if self.config.part != "objective":
            return tuple(() for _ in self.teachers)
        maps = (layer_mapping.layer_map("uniform", self.student.layers, t.layers, self.seed) for t in self.teachers)
        return tuple((0, *(layer for (layer,) in layer_map)) for layer_map in maps)

    def notes(self) -> Mapping[str, Any]:
        notes: dict[str, Any] = {}
        if self.config.part == "adopt":
            notes["teachers_from_uncertain_to_certain"] = [teacher.name for teacher in self.teachers]
        if self.config.part == "objective":
            notes["layer_maps"] = [list(layer_map) for layer_map in self.layer_maps]
        if self._selects:
            notes["queries"] = f"{self.config.ratio:g} of each batch; the teacher runs on all of it"
        if not self._measurable:
            without = {"adopt": "equal weights", "data": "all examples", "objective": "equal weights"}
            reason = "has no classes" if self.task.kind == "regression" else "has positions; see qa_uncertainty"
            if not self._selects:
                notes["uncertainty"] = f"off: a {self.task.kind} task {reason}: {without[self.config.part]}"
        return notes

    def stages(self) -> Sequence[Stage]:
        maps = self.layer_maps
        own = _states(range(self.student.layers + 1)) if any(maps) else []
        teachers = [["logits", *_states(layer_map)] for layer_map in maps]
        return [Stage(self.config.part, Needs(["logits", *own], teachers), batch_dependent=self._batch_dependent)]

    @property
    def _batch_dependent(self) -> frozenset[str]:
        if self._selects:
            return frozenset({"kd"})
        return frozenset(self._kd_names if self.config.part == "adopt" and self._strategy == "hard" else ())

    @property
    def _kd_names(self) -> list[str]:
        """The terms of adopt, one for each teacher."""
        return [f"kd_{k}" for k in range(1, len(self.teachers) + 1)]

    def modules(self, student: ModelShape, teachers: Sequence[ModelShape]) -> nn.ModuleDict:
        return nn.ModuleDict(
            {
                _projection(i, m): projection(student.hidden, teacher.hidden)
                for i, (teacher, layer_map) in enumerate(zip(teachers, self.layer_maps, strict=True), start=1)
                if teacher.hidden != student.hidden
                for m in range(len(layer_map))
            }
        )

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        kd = torch.stack([self._kd(student.logits, teacher.logits, batch) for teacher in teachers])  # [M, B]
        uncertain = self._uncertainty(step, student.logits, batch)
        terms = {"task": task_loss(student.logits, batch)}
        if self.config.part == "adopt":
            weighted = (self._teacher_weights(uncertain) * kd).mean(-1)
            return {**terms, **dict(zip(self._kd_names, weighted.unbind(), strict=True))}
        if self.config.part == "data":
            kept = self._kept(step, student.logits, batch)
            return {**terms, "kd": (kd.mean(0) if kept is None else kd.mean(0)[kept]).mean()}
        rep = self._rep(step.modules, batch, student, teachers)
        return {**terms, "kd": ((1 - uncertain) * kd.mean(0)).mean(), "rep": (uncertain * rep).mean()}

    def weights(self, step: Step) -> Mapping[str, float]:
        names = self._kd_names if self.config.part == "adopt" else ["kd"]
        weights = {"task": self.config.task_weight, **dict.fromkeys(names, self.config.kd_weight)}
        return {**weights, "rep": self.config.rep_weight} if self.config.part == "objective" else weights

    def _kd(self, student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """The loss of each example [B]."""
        if self.config.form == "kl" and batch.kind != "regression":
            return measures.kl_by_example(student, teacher, batch, self.config.temperature)
        return measures.mse_by_example(student, teacher, batch)

    def _uncertainty(self, step: Step, logits: Tensor, batch: Batch) -> Tensor:
        """The uncertainty of each example [B], from 0 to 1; 1/2 where it is not measured."""
        if self.config.part == "data" or self._strategy == "none":
            return torch.full((len(logits),), 0.5, device=logits.device)
        uncertain = measures.uncertainty(logits, batch)
        step.log("uncertainty", uncertain.detach().mean())
        return uncertain.detach() if self.config.detach_uncertainty else uncertain

    def _teacher_weights(self, uncertain: Tensor) -> Tensor:
        """The weights of the teachers [M] for each example: [M, B]; an uncertain student learns from the first.

        Soft: u and 1 - u for two teachers; for more, from u to 1 - u in equal steps, scaled to the sum M (GLMKD). Hard:
        1 for the teacher of the example's rank.
        """
        count, examples = len(self.teachers), len(uncertain)
        if count == 1:
            return torch.ones_like(uncertain)[None]
        if self._strategy == "hard":
            ranks = uncertain.argsort(descending=True, stable=True).argsort()
            chosen = ((ranks + 1) * count - 1) // examples
            return (chosen == torch.arange(count, device=ranks.device)[:, None]).to(uncertain.dtype)
        positions = torch.linspace(0, 1, count, device=uncertain.device, dtype=uncertain.dtype)[:, None]
        weights = uncertain + (1 - 2 * uncertain) * positions
        return weights if count == 2 else 2 * weights

    def _kept(self, step: Step, logits: Tensor, batch: Batch) -> Tensor | None:
        """The rows of the examples that learn from the teacher; None: all."""
        if not self._selects:
            return None
        count = max(1, int(len(logits) * self.config.ratio))
        step.log("queries", count)
        if self.config.select == "random":
            order = to_device(torch.randperm(len(logits), generator=step.generator), logits.device)
        elif self.config.select == "entropy":
            order = measures.uncertainty(logits, batch).argsort(descending=True, stable=True)
        else:
            measure = {"margin": measures.margin, "confidence": measures.confidence}[self.config.select]
            order = measure(logits, batch).argsort(stable=True)
        return order[:count]

    def _rep(
        self, modules: nn.ModuleDict, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]
    ) -> Tensor:
        """MSE of the tokens' vectors of length 1, sum over the layers of each example, mean over teachers: [B]."""
        by_teacher = []
        for i, (teacher, layer_map) in enumerate(zip(teachers, self.layer_maps, strict=True), start=1):
            by_layer = []
            for m, layer in enumerate(layer_map):
                own, name = _state(student, m), _projection(i, m)
                own = unit_vectors(modules[name](own) if name in modules else own)
                by_token = (own - unit_vectors(_state(teacher, layer))).square().mean(-1)
                by_layer.append(by_token.masked_fill(~batch.mask, 0).sum(-1) / batch.lengths)
            by_teacher.append(torch.stack(by_layer).sum(0))
        return torch.stack(by_teacher).mean(0)


def _states(indices: Sequence[int]) -> list[str]:
    """The names of hidden states; layer 0 is the embeddings."""
    return ["embeddings", *layers("hidden", [layer for layer in indices if layer])] if indices else []


def _state(outputs: ModelOutputs, layer: int) -> Tensor:
    return outputs.hidden[layer] if layer else outputs.embeddings


def _projection(teacher: int, layer: int) -> str:
    return f"teacher_{teacher}_layer_{layer}"
