"""Losses between chosen outputs of student and teacher, beside soft targets and labels; nothing to program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from harness import (
    Batch,
    LossTerms,
    Method,
    ModelOutputs,
    ModelShape,
    Needs,
    Problem,
    Stage,
    Step,
    TaskInfo,
)
from harness.api import losses as shared
from harness.api.lazy_torch import nn, torch
from harness.api.wording import counted

from . import comparisons, logits
from .config import ATTENTION, EQUAL_WIDTHS, Linear, Match, MatchesConfig, Output, at

if TYPE_CHECKING:
    from torch import Tensor

ACTIVATIONS = {"relu": "ReLU", "tanh": "Tanh"}
"""What follows the linear map of a projection, in `torch.nn`."""


class Matches(Method):
    """The loss task_weight * task + kd_weight * kd + the sum of weight * term over the matches."""

    name = "matches"
    version = 2
    summary = "losses between outputs that the suite chooses, beside soft targets and labels"
    Config = MatchesConfig

    @property
    def options(self) -> MatchesConfig:
        """The options, with their type."""
        config = self.config
        assert isinstance(config, MatchesConfig)
        return config

    @property
    def named(self) -> Mapping[str, Match]:
        """Name of the term -> match."""
        return dict(zip(self.options.names, self.options.matches, strict=True))

    def check(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> Sequence[Problem]:
        (teacher,) = teachers
        problems = [*self._logit_problems(task)]
        for name, match in self.named.items():
            messages = [*_layer_problems(match, student, teacher)] or [*_size_problems(match, student, teacher)]
            problems += [Problem(f"{name}: {message}") for message in messages]
        return problems

    def _logit_problems(self, task: TaskInfo) -> Iterator[Problem]:
        if self.options.probability_shift and task.kind in ("regression", "multilabel"):
            yield Problem(f"probability_shift needs one label among classes, which a {task.kind} task does not have")
        if self.options.example_temperature is not None and task.kind not in ("classification", "qa"):
            yield Problem(f"example_temperature is defined for classification and qa, not for {task.kind}")

    def stages(self) -> Sequence[Stage]:
        matches, options = self.options.matches, self.options
        own = {need for match in matches for output in match.outputs[0] for need in _needs(output)}
        theirs = {need for match in matches for output in match.outputs[1] for need in _needs(output)}
        coupled = {name for name, match in self.named.items() if match.depends_on_batch}
        coupled_kd = {"kd"} if options.example_temperature is not None else set[str]()
        on_logits = [{"logits"}] if options.kd != "none" else []
        if options.separate:
            return [
                Stage("match", Needs(own, [theirs]), batch_dependent=frozenset(coupled)),
                Stage("distill", Needs({"logits"}, on_logits), batch_dependent=frozenset(coupled_kd)),
            ]
        teacher = theirs.union(*on_logits)
        needs = Needs({"logits", *own}, [teacher] if teacher else [])
        return [Stage("distill", needs, batch_dependent=frozenset(coupled | coupled_kd))]

    def modules(self, student: ModelShape, teachers: Sequence[ModelShape]) -> nn.ModuleDict:
        (teacher,) = teachers
        modules = nn.ModuleDict()
        for name, match in self.named.items():
            if match.project != "none":
                own, theirs = match.outputs
                linear = shared.projection(_width(student, own[0]), _width(teacher, theirs[0]), bias=True)
                activation = [getattr(nn, ACTIVATIONS[match.project])()] if match.project in ACTIVATIONS else []
                modules[name] = nn.Sequential(linear, *activation) if activation else linear
        return modules

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        terms: dict[str, Tensor] = {}
        if step.stage.name == "distill":
            terms["task"] = shared.task_loss(student.logits, batch)
            if self.options.kd != "none":
                terms["kd"] = self._kd(step, batch, student.logits, teachers[0].logits)
        if step.stage.name == "match" or not self.options.separate:
            # Products of whole vectors are large; rounding them under autocast would change the losses.
            with torch.autocast(batch.inputs["input_ids"].device.type, enabled=False):
                for name, match in self.named.items():
                    module = step.modules[name] if match.project != "none" else None
                    terms[name] = _compare(match, student, teachers[0], batch, module)
        return terms

    def weights(self, step: Step) -> Mapping[str, float]:
        progress, options = _progress(step), self.options
        matches = {name: at(match.weight, progress) for name, match in self.named.items()}
        if step.stage.name == "match":
            return matches
        weights = {"task": at(options.task_weight, progress)}
        if options.kd != "none":
            weights["kd"] = at(options.kd_weight, progress)
        return weights if options.separate else {**weights, **matches}

    def _kd(self, step: Step, batch: Batch, student: Tensor, teacher: Tensor) -> Tensor:
        options = self.options
        temperature: float | Tensor = at(options.temperature, _progress(step))
        if isinstance(options.temperature, Linear):
            step.log("temperature", temperature)
        if options.probability_shift:
            teacher = logits.shifted(teacher, batch)
        if options.example_temperature is not None:
            assert isinstance(temperature, float)
            temperature = logits.example_temperature(options.example_temperature, student, teacher, batch, temperature)
        return logits.loss(options.kd, student, teacher, batch, temperature)


def _progress(step: Step) -> float:
    """The share of the stage's steps that are done, from 0 to 1."""
    return step.index / step.steps


def _needs(output: Output) -> list[str]:
    """The model outputs that an output is computed from. Queries and keys replace scores, which take more memory."""
    return [f"queries[{output.layer}]", f"keys[{output.layer}]"] if output.name in ATTENTION else [str(output)]


def _width(shape: ModelShape, output: Output) -> int:
    """The features of a vector of an output."""
    if output.name in ("queries", "keys", "values"):
        return shape.qkv_width
    return shape.context_width if output.name == "context" else shape.hidden


def _layer_problems(match: Match, student: ModelShape, teacher: ModelShape) -> Iterator[str]:
    for shape, outputs in zip((student, teacher), match.outputs, strict=True):
        for output in outputs:
            if output.layer is not None and not 1 <= output.layer <= shape.layers:
                yield f"there is no {output}: {shape.name} has {counted(shape.layers, 'layer')}, counted from 1"


def _size_problems(match: Match, student: ModelShape, teacher: ModelShape) -> Iterator[str]:
    """Why outputs of these sizes cannot be compared."""
    own, theirs = match.outputs
    widths = [{_width(shape, output) for output in outputs} for shape, outputs in ((student, own), (teacher, theirs))]
    found = f"{student.name} has {_listed(widths[0])}, {teacher.name} has {_listed(widths[1])}"
    if match.form == "attention":
        if match.heads == "each" and student.heads != teacher.heads:
            heads = f"{student.name} has {student.heads}, {teacher.name} has {teacher.heads}"
            yield f"equal numbers of heads are needed, or `heads: mean`: {heads}"
    elif match.loss == "relation":
        yield from _relation_problems(match, student, teacher)
    elif any(len(each) > 1 for each in widths):
        yield f"the outputs of a pair need equal widths: {found}"
    elif match.loss in EQUAL_WIDTHS and match.project == "none" and widths[0] != widths[1]:
        yield f"{match.loss} needs equal widths, or `project: linear`: {found}"


def _relation_problems(match: Match, student: ModelShape, teacher: ModelShape) -> Iterator[str]:
    for shape, outputs in zip((student, teacher), match.outputs, strict=True):
        for output in outputs:
            width = _width(shape, output)
            if match.relation_heads is not None and width % match.relation_heads:
                where = f"the width {width} of {output} of {shape.name}"
                yield f"relation_heads {match.relation_heads} does not divide {where}"
    by_head = [outputs[0].name in ("queries", "keys", "values") for outputs in match.outputs]
    counts = [shape.heads if each else 1 for shape, each in zip((student, teacher), by_head, strict=True)]
    if match.relation_heads is None and counts[0] != counts[1]:
        yield (
            "equal numbers of heads are needed, or `relation_heads`:"
            f" {student.name} has {counts[0]}, {teacher.name} has {counts[1]}"
        )


def _listed(numbers: set[int]) -> str:
    return " and ".join(map(str, sorted(numbers)))


def _tensor(outputs: ModelOutputs, output: Output) -> Tensor:
    if output.layer is None:
        return outputs.embeddings if output.name == "embeddings" else outputs.pooled
    layered: Mapping[int, Tensor] = getattr(outputs, output.name)
    return layered[output.layer]


def _compare(
    match: Match, student: ModelOutputs, teacher: ModelOutputs, batch: Batch, module: nn.Module | None
) -> Tensor:
    """The term of a match: a scalar."""
    own, theirs = match.outputs
    mask = batch.mask
    if match.form == "attention":
        (pair_s, pair_t) = (
            (outputs.queries[output.layer or 0], outputs.keys[output.layer or 0])
            for outputs, output in ((student, own[0]), (teacher, theirs[0]))
        )
        return comparisons.of_attention(
            match.loss,
            pair_s,
            pair_t,
            mask,
            probabilities=own[0].name == "attention",
            heads=match.heads,
            reduction=match.reduction,
        )
    if match.loss == "relation":
        relations = [
            [_tensor(outputs, output) for output in names] for outputs, names in ((student, own), (teacher, theirs))
        ]
        first, second = ((tensors[0], tensors[-1]) for tensors in relations)
        return shared.relation_kl(first, second, mask, heads=match.relation_heads)
    vectors_s = [comparisons.as_vectors(_tensor(student, output), mask, match.tokens) for output in own]
    vectors_t = [comparisons.as_vectors(_tensor(teacher, output), mask, match.tokens) for output in theirs]
    if module is not None:
        vectors_s = [module(vectors) for vectors in vectors_s]
    if match.normalize:
        vectors_s, vectors_t = ([shared.unit_vectors(v) for v in each] for each in (vectors_s, vectors_t))
    return _of_vectors(match, vectors_s, vectors_t, mask)


def _of_vectors(match: Match, student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor) -> Tensor:
    if match.loss in ("fsp", "gram"):
        return comparisons.flow(student, teacher, mask)
    if match.loss in ("nst", "mmd"):
        return comparisons.selectivity(student, teacher, mask, match.reduction)
    if match.form == "vectors" and match.depends_on_batch:
        return comparisons.of_batch(match.loss, student[0], teacher[0])
    losses = comparisons.of_vectors(match.loss, student[0], teacher[0])
    return losses.mean() if losses.dim() == 1 else comparisons.over_tokens(losses, mask, match.reduction)
