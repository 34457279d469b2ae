"""Options of matches: the pairs of outputs, their losses, and weights that may change over the stage."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from harness import MethodConfig
from harness.api.names import NAME_RULE, is_name

TOKEN_VECTORS = ("embeddings", "hidden", "context", "queries", "keys", "values")
ATTENTION = ("scores", "attention")
WHOLE = ("embeddings", "pooled")

PAIR_LOSSES = ("fsp", "gram", "nst", "mmd", "relation")
"""Losses that can compare two outputs of a model with each other."""

BATCH_LOSSES = ("rkd_distance", "rkd_angle", "similarity", "pkt")
"""Losses that compare the examples of a batch with each other."""

VECTOR_LOSSES = ("mse", "l2", "l1", "smooth_l1", "cosine", "kl", "ce")
"""Losses between two vectors."""

EQUAL_WIDTHS = (*VECTOR_LOSSES, "fsp", "gram")
"""Losses on vectors that need equal widths."""

LOSSES = {
    "tokens": (*VECTOR_LOSSES, *PAIR_LOSSES),
    "vectors": (*VECTOR_LOSSES, *BATCH_LOSSES),
    "attention": ("mse", "kl", "ce", "cosine"),
}
"""What is compared -> its losses: a vector for each token, a vector for each example, attention maps."""


@dataclass(frozen=True)
class Output:
    """An output of a model: its name, and its layer, counted from 1, if it has one."""

    name: str
    layer: int | None = None

    def __str__(self) -> str:
        return self.name if self.layer is None else f"{self.name}[{self.layer}]"


def parse(text: str) -> Output:
    """Parse ``hidden[2]``, ``hidden.2`` or ``embeddings``. Raises `ValueError` for anything else."""
    found = re.fullmatch(r"([a-z]+)(?:\[(\d+)\]|\.(\d+))?", text)
    name, *layers = found.groups() if found else (text, None, None)
    layer = next((int(layer) for layer in layers if layer is not None), None)
    layered = name in (*TOKEN_VECTORS, *ATTENTION) and name not in WHOLE
    if not found or (layer is None and name not in WHOLE) or (layer is not None and not layered):
        layered_names = [each for each in (*TOKEN_VECTORS, *ATTENTION) if each not in WHOLE]
        raise ValueError(
            f"unknown output {text!r}; allowed: {', '.join(WHOLE)}, and with a layer, such as hidden[2] or hidden.2:"
            f" {', '.join(layered_names)}"
        )
    return Output(name, layer)


def _checked(text: str) -> str:
    return str(parse(text))


OutputName = Annotated[str, AfterValidator(_checked)]
"""The name of an output; ``hidden.2`` is ``hidden[2]``, which YAML needs in quotes within braces."""


class Linear(MethodConfig):
    """A value that changes linearly over the steps of the stage."""

    start: float = Field(ge=0, description="at the first step")
    end: float = Field(ge=0, description="after the last step")

    def at(self, progress: float) -> float:
        """The value when `progress` of the stage's steps, from 0 to 1, are done."""
        return self.start + (self.end - self.start) * progress


NonNegative = Annotated[float, Field(ge=0)]
Scheduled = NonNegative | Linear
"""A constant, or ``{start: 1, end: 0}``."""


def at(value: float | Linear, progress: float) -> float:
    """The value of a constant or a schedule when `progress` of the stage's steps are done."""
    return value.at(progress) if isinstance(value, Linear) else value


class Match(MethodConfig):
    """One comparison of outputs of the student with outputs of the teacher: a loss term."""

    name: str | None = Field(None, description="name of the term; default: match_1, match_2, ...")
    student: OutputName | list[OutputName] = Field(description="output of the student; a list of two: a pair")
    teacher: OutputName | list[OutputName] = Field(description="output of the teacher, or a pair")
    loss: Literal[
        "mse",
        "l2",
        "l1",
        "smooth_l1",
        "cosine",
        "kl",
        "ce",
        "fsp",
        "gram",
        "nst",
        "mmd",
        "relation",
        "rkd_distance",
        "rkd_angle",
        "similarity",
        "pkt",
    ] = Field("mse", description="the loss, see the README")
    weight: Scheduled = Field(1.0, description="weight of the term")
    project: Literal["none", "linear", "relu", "tanh"] = Field(
        "none", description="trainable map from the student's width to the teacher's"
    )
    tokens: Literal["all", "cls", "mean"] = Field(
        "all", description="all tokens, the first one, or the mean of all: one vector for each example"
    )
    normalize: bool = Field(False, description="scale vectors to length 1 before mse, l2, l1 or smooth_l1")
    heads: Literal["each", "mean", "sum"] = Field(
        "each", description="compare the attention of each head, or the mean or sum of all heads"
    )
    relation_heads: int | None = Field(
        None, gt=0, description="number of heads of a relation; default: the layer's own"
    )
    reduction: Literal["examples", "tokens"] = Field(
        "examples",
        description="mean over the tokens of an example, then over examples; or over all tokens of the batch",
    )

    @property
    def outputs(self) -> tuple[Sequence[Output], Sequence[Output]]:
        """The outputs of the student and of the teacher: one of each, or two of each."""
        student, teacher = ([text] if isinstance(text, str) else text for text in (self.student, self.teacher))
        return [*map(parse, student)], [*map(parse, teacher)]

    @property
    def form(self) -> str:
        """What is compared: a key of `LOSSES`."""
        (first, *_), _ = self.outputs
        return self._form_of(first)

    def _form_of(self, output: Output) -> str:
        if output.name in ATTENTION:
            return "attention"
        return "vectors" if output.name == "pooled" or self.tokens != "all" else "tokens"

    @property
    def depends_on_batch(self) -> bool:
        """Whether the term compares examples of a batch, or weights them by their lengths."""
        return self.loss in BATCH_LOSSES or self.reduction == "tokens"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if problem := next(self._problems(), None):
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterator[str]:
        student, teacher = self.outputs
        forms = {self._form_of(output): output for output in (*student, *teacher)}
        if len(student) != len(teacher) or len(student) > 2 or not student:
            yield "give one output of student and teacher, or a list of two of each"
        elif len(student) == 2 and self.loss not in PAIR_LOSSES:
            yield f"{self.loss} compares single outputs; pairs are for {', '.join(PAIR_LOSSES)}"
        elif len(forms) > 1:
            yield f"{' and '.join(map(str, forms.values()))} cannot be compared: {' and '.join(forms)}"
        elif self.loss not in LOSSES[self.form]:
            hint = "; `tokens: cls` or `mean` gives one vector for each example" if self.form == "tokens" else ""
            yield f"{self.loss} is no loss on {student[0]}; allowed: {', '.join(LOSSES[self.form])}{hint}"
        if self.name is not None and (not is_name(self.name) or self.name in ("kd", "task", "loss")):
            yield f"invalid name {self.name!r}; {NAME_RULE}, and not kd, task or loss"
        yield from self._without_effect()

    def _without_effect(self) -> Iterator[str]:
        """Options that are set and would have no effect."""
        form = self.form
        single = form == "tokens" and self.loss in (*VECTOR_LOSSES, "nst", "mmd")
        effects = {
            "project": form != "attention" and self.loss != "relation",
            "tokens": form != "attention" and not any(output.name == "pooled" for output in self.outputs[0]),
            "normalize": form != "attention" and self.loss in ("mse", "l2", "l1", "smooth_l1"),
            "heads": form == "attention" and (self.heads != "sum" or self.loss == "mse"),
            "relation_heads": self.loss == "relation",
            "reduction": single or form == "attention",
        }
        for option, has_effect in effects.items():
            value = getattr(self, option)
            if value != type(self).model_fields[option].default and not has_effect:
                yield f"`{option}: {value}` has no effect on {self.loss} of {self.outputs[0][0]}; remove it"


class ExampleTemperature(MethodConfig):
    """A temperature of its own for each example: higher where the rule finds it easier than the others of its batch."""

    rule: Literal["flsw", "cwsm"] = Field(
        "flsw", description="flsw: by the angle between the logits; cwsm: by the student's confidence"
    )
    beta: float = Field(1.0, description="temperature + beta (mean of w - w)")
    gamma: float = Field(1.0, gt=0, description="exponent of flsw")
    minimum: float = Field(
        0.1, gt=0, le=1, description="the least temperature of an example, as a share of temperature"
    )


class MatchesConfig(MethodConfig):
    """Options of matches. The default temperature and weight of kd are those of TextBrewer."""

    matches: list[Match] = Field(default_factory=list, description="the comparisons of outputs, a term for each")
    kd: Literal["kl", "ce", "mse", "none"] = Field(
        "kl",
        description="loss on logits: kl, multiplied by the squared temperature; ce or mse, without a factor; or none",
    )
    temperature: Annotated[float, Field(gt=0)] | Linear = Field(4.0, description="temperature tau of kd")
    example_temperature: ExampleTemperature | None = Field(
        None, description="rule, beta, gamma: a temperature for each example of a classification task"
    )
    probability_shift: bool = Field(
        False, description="exchange the teacher's largest logit with that of the label where it is wrong"
    )
    kd_weight: Scheduled = Field(1.0, description="weight of kd")
    task_weight: Scheduled = Field(1.0, description="weight of the labels")
    separate: bool = Field(
        False, description="two stages: the matches first, then kd and labels; default: all terms together"
    )

    @property
    def names(self) -> list[str]:
        """The name of the term of each match."""
        return [match.name or f"match_{i}" for i, match in enumerate(self.matches, start=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if repeated := sorted({name for name in self.names if self.names.count(name) > 1}):
            raise ValueError(f"duplicate name {repeated[0]!r} of matches; give each another `name`")
        if isinstance(self.temperature, Linear) and not min(self.temperature.start, self.temperature.end) > 0:
            raise ValueError("temperature: start and end must be above 0")
        if self.kd == "none":
            self._refuse(
                "without kd", temperature=4.0, example_temperature=None, probability_shift=False, kd_weight=1.0
            )
        if self.separate and not self.matches:
            raise ValueError("`separate` needs `matches`: there would be no first stage")
        return self

    def _refuse(self, reason: str, **defaults: Any) -> None:
        for name, default in defaults.items():
            if getattr(self, name) != default:
                raise ValueError(f"`{name}` has no effect {reason}; remove it")
