"""The stages of a method: `Stage`, and `Needs`, the model outputs that a stage reads."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

from harness.api.model_outputs import name_fault
from harness.api.names import NAME_RULE, is_name
from harness.api.stage_settings import Schedule, StageData, StageStart


@dataclass(frozen=True)
class Needs:
    """The model outputs that a stage reads; no others are computed.

    Names do not depend on the architecture: ``logits``, ``pooled``, ``embeddings``, and for each layer, counted from 1,
    ``hidden[i]``, ``scores[i]``, ``queries[i]``, ``keys[i]``, ``values[i]``, ``context[i]``.

    Attributes:
        student: names of the student's outputs.
        teachers: names of the outputs of each teacher, in the order of the method's teachers; empty: the stage runs no
            teacher.

    Raises:
        ValueError: a name is unknown or has no layer, or a string is given in place of a list of names.
    """

    student: frozenset[str] = frozenset()
    teachers: tuple[frozenset[str], ...] = ()

    def __init__(self, student: Iterable[str] = (), teachers: Iterable[Iterable[str]] = ()) -> None:
        object.__setattr__(self, "student", _names("Needs: student", student))
        if isinstance(teachers, str):
            raise ValueError(f"Needs: teachers is {teachers!r}; expected a list of names for each teacher")
        of_each = tuple(_names(f"Needs: teachers[{i}]", names) for i, names in enumerate(teachers))
        object.__setattr__(self, "teachers", of_each)
        faults = {fault for name in self.student.union(*of_each) if (fault := name_fault(name))}
        if faults:
            raise ValueError(f"Needs: {'; '.join(sorted(faults))}")


def layers(name: str, indices: Iterable[int]) -> list[str]:
    """Names of an output for several layers: ``layers("hidden", [1, 2])`` is ``["hidden[1]", "hidden[2]"]``."""
    return [f"{name}[{i}]" for i in indices]


@dataclass(frozen=True)
class Stage:
    """A phase of a run with its own losses, length and learning rate.

    Attributes:
        name: unique among the method's stages.
        needs: the model outputs that the stage reads at any of its steps; `Method.needs` can read fewer at a step.
        share: the stage's share of the run's epochs, at least one step, unless `epochs` or `steps` sets its length.
        epochs: the length in epochs.
        steps: the length in steps.
        lr: the peak learning rate; default: the suite's.
        batch_dependent: names of terms that compare the examples of a batch with each other. The host does not split
            the batches of a stage that has any. All other terms must be means over examples: `losses` is called on
            parts of a batch (groups of similar length, or smaller parts if memory does not suffice), and each part is
            weighted by its share of the batch.
        schedule: learning-rate schedule after warm-up: ``linear``, ``constant`` or ``cosine``; default: the suite's.
        warmup_ratio: share of the stage's steps for warm-up; default: the suite's.
        data: ``task`` trains on the task's own data even if the method has an `Augmentation`.
        frozen: parameters that do not change in this stage, and for which no gradients are computed. A name is a
            parameter group (see `Method.learning_rates`), or a component of the dotted names of the student's
            parameters, such as ``position_embeddings``.
        starts_from: ``last`` continues with the weights of the last step of the previous stage, ``best`` with the
            student and the modules of its best epoch, by the score on the suite's held-out selection split. Without
            `selection` in the suite, ``best`` continues with the last step, and the record says so.
        live: the method runs the teachers itself, see `Step.teachers`. They then run in this process and are not read
            from the cache, and must have the student's tokenizer. Attention of the student and of these teachers has
            second derivatives, and takes more memory.
        average: decay of the exponential moving average of the student's weights, see `Step.average`: after each step,
            average = decay * average + (1 - decay) * weights. It starts with the weights at the stage's first step.
            None: no average.
        module_terms: names of terms that train the method's modules and not the student, such as the loss of a policy.

    Raises:
        ValueError: the name is invalid, `needs` are no `Needs`, a string is given in place of a list of names, a number
            is out of range, `schedule`, `data` or `starts_from` is unknown, or both `epochs` and `steps` are set.
    """

    name: str
    needs: Needs
    share: float = 1.0
    epochs: float | None = None
    steps: int | None = None
    lr: float | None = None
    batch_dependent: frozenset[str] = frozenset()
    schedule: Schedule | None = None
    warmup_ratio: float | None = None
    data: StageData = "augmented"
    frozen: frozenset[str] = frozenset()
    starts_from: StageStart = "last"
    live: bool = False
    average: float | None = None
    module_terms: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise ValueError(f"invalid stage name {self.name!r}; allowed: {NAME_RULE}")
        if not isinstance(self.needs, Needs):
            raise ValueError(f"stage {self.name!r}: needs is a {type(self.needs).__name__}; expected Needs(...)")
        for key in ("batch_dependent", "frozen", "module_terms"):
            object.__setattr__(self, key, _names(f"stage {self.name!r}: {key}", getattr(self, key)))
        numbers = {"share": self.share, "epochs": self.epochs, "lr": self.lr}
        for key, value in numbers.items():
            if (value is not None or key == "share") and not _above_zero(value):
                raise ValueError(f"stage {self.name!r}: {key} is {value!r}; it must be a finite number above 0")
        if self.steps is not None and not (isinstance(self.steps, int) and self.steps >= 1):
            raise ValueError(f"stage {self.name!r}: steps is {self.steps!r}; it must be an integer above 0")
        if self.epochs is not None and self.steps is not None:
            raise ValueError(
                f"stage {self.name!r}: epochs is {self.epochs!r} and steps is {self.steps!r}; set only one of them"
            )
        warmup = self.warmup_ratio
        if warmup is not None and not (warmup == 0 or (_above_zero(warmup) and warmup < 1)):
            raise ValueError(f"stage {self.name!r}: warmup_ratio is {warmup!r}; it must be at least 0 and below 1")
        if self.average is not None and not (_above_zero(self.average) and self.average < 1):
            raise ValueError(f"stage {self.name!r}: average is {self.average!r}; it must be above 0 and below 1")
        choices = {
            "schedule": (None, *get_args(Schedule)),
            "data": get_args(StageData),
            "starts_from": get_args(StageStart),
        }
        for key, allowed in choices.items():
            if (value := getattr(self, key)) not in allowed:
                names = ", ".join(repr(name) for name in allowed if name)
                raise ValueError(f"stage {self.name!r}: {key} is {value!r}; allowed: {names}")


def _names(what: str, names: Iterable[str]) -> frozenset[str]:
    """The set of names. A string would be the set of its letters."""
    if isinstance(names, str):
        raise ValueError(f"{what} is the string {names!r}; expected a list of names, such as [{names!r}]")
    return frozenset(names)


def _above_zero(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf
