"""The interface that the author of a method reads: `Method`, `MethodConfig`, `Stage`, `Needs`.

A method is a typed object in the training loop. The host builds one per run, asks it once for its stages and modules,
and then calls `losses` on every batch. It does the rest itself: teachers, batches, optimisers, weighing and summing of
the terms, checkpoints, logging.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from harness.batch import Batch, TaskKind
from harness.errors import Problem
from harness.tensors import ModelShape, Tensors

LossTerms = Mapping[str, Tensor]


class MethodConfig(BaseModel):
    """The options of a method. Subclass it; give every field a default and a description. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Needs:
    """The tensors that a stage reads; whatever is not named here does not exist.

    Names are architecture-neutral: ``logits``, ``pooled``, ``embeddings``, and per layer, counted from 1,
    ``hidden[i]``, ``scores[i]``, ``queries[i]``, ``keys[i]``, ``values[i]``, ``context[i]``.
    `teachers` has one collection for each teacher of the method, in their order; empty: no teacher is run.
    """

    student: frozenset[str] = frozenset()
    teachers: tuple[frozenset[str], ...] = ()

    def __init__(self, student: Iterable[str] = (), teachers: Iterable[Iterable[str]] = ()) -> None:
        object.__setattr__(self, "student", frozenset(student))
        object.__setattr__(self, "teachers", tuple(frozenset(names) for names in teachers))


def layers(name: str, indices: Iterable[int]) -> list[str]:
    """``layers("hidden", [1, 2])`` is ``["hidden[1]", "hidden[2]"]``."""
    return [f"{name}[{i}]" for i in indices]


@dataclass(frozen=True)
class Stage:
    """A phase of a run with its own losses, length and learning rate.

    The run's steps are split among the stages by `share`, at least one step each, unless `epochs` or `steps` gives a
    stage a length of its own. `lr` (peak learning rate) defaults to the suite's. Terms named in `coupled` compare the
    examples of a batch with each other, so the host never splits the batch under them.
    """

    name: str
    needs: Needs
    share: float = 1.0
    epochs: float | None = None
    steps: int | None = None
    lr: float | None = None
    coupled: frozenset[str] = frozenset()


@dataclass(frozen=True)
class TaskInfo:
    """What a method may know of the task: its name, its kind, and the number of classes (1 for regression, 2 logits
    per token for extractive QA)."""

    name: str
    kind: TaskKind
    num_labels: int


def _no_student(needs: Collection[str]) -> Tensors:
    raise RuntimeError("this step has no student to run again")


@dataclass(frozen=True)
class Cofinetuning:
    """Teachers that are trained together on the task, before students learn from them.

    The host puts all encoders under one head: a pooling and a prediction layer, in the first teacher's width; a
    teacher of another width reaches it through a linear map of its own. It trains them side by side with the first
    teacher's settings, keeps them in the cache, scores each, and shows it on the board under a name of its own.

    Attributes:
        losses: the terms of one batch, whose sum is minimised, from the teachers' `Tensors`, which hold their `logits`.
        options: plain values that `losses` depends on. They are part of the teachers' keys, beside the method's name
            and version, the teachers and the data.
    """

    losses: Callable[[Batch, Sequence[Tensors]], LossTerms]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Step:
    """Where in its training a run stands. Steps count from 0 within the stage."""

    stage: Stage
    index: int
    steps: int
    epoch: float
    epochs: float
    modules: nn.ModuleDict
    """What `Method.modules` built, trained by the host."""
    generator: torch.Generator
    """The run's own random generator, on the CPU: the same alone and in a cohort, and kept in checkpoints."""
    log: Callable[[str, float | Tensor], None] = field(default=lambda name, value: None)
    """Log a value of the method's own beside the losses."""
    again: Callable[[Collection[str]], Tensors] = _no_student
    """Run the student once more on the batch, under another dropout, for the tensors named; with gradients."""


class Method(ABC):
    """A distillation method. Subclass, set `name`, and write `stages` and `losses`.

    The host binds, before anything else is called: `config` (an instance of `Config`), `task`, `student` and
    `teachers` (the shapes of the models, in the order of the method's teachers) and `seed`, the run's.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    """Raise it when results change: it is part of every run's key."""
    citation: ClassVar[str] = ""
    """BibTeX, or nothing for a method that has no paper."""
    summary: ClassVar[str] = ""
    """One line for `harness list methods`."""
    min_teachers: ClassVar[int] = 1
    max_teachers: ClassVar[int | None] = 1
    """How many teachers the method takes; None: any number. With both at 0 it is a baseline without a teacher."""
    Config: ClassVar[type[MethodConfig]] = MethodConfig

    def __init__(
        self,
        config: MethodConfig,
        *,
        task: TaskInfo,
        student: ModelShape,
        teachers: Sequence[ModelShape],
        seed: int,
    ) -> None:
        self.config: Any = config
        self.task = task
        self.student = student
        self.teachers = tuple(teachers)
        self.seed = seed

    def check(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> Sequence[Problem]:
        """What cannot be, told before any training. A message names both values that do not fit.

        Called right after construction, and before `stages` and `modules`.
        """
        return ()

    def cofinetuning(self) -> Cofinetuning | None:
        """How the method's teachers are trained together; None: it takes those that are fine-tuned one by one.

        Teachers serve many runs, so the answer depends on neither the student nor the seed. Teachers that are trained
        together read with one tokenizer.
        """
        return None

    @abstractmethod
    def stages(self) -> Sequence[Stage]:
        """The stages of a run, in order; at least one. Their names are unique."""

    def modules(self, student: ModelShape, teachers: Sequence[ModelShape]) -> nn.ModuleDict:
        """Projections and, as buffers, the method's state: trained and checkpointed by the host, never exported.

        Built under the run's own seed. Modules that a stage's losses do not reach keep their values in that stage.
        """
        return nn.ModuleDict()

    @abstractmethod
    def losses(self, step: Step, batch: Batch, student: Tensors, teachers: Sequence[Tensors]) -> LossTerms:
        """The unweighted loss terms of one batch, scalars by name, of the stage that `step` tells.

        `student` carries gradients; `teachers` carry none and are shared with other runs: never change one in place.
        """

    def weights(self, step: Step) -> Mapping[str, float]:
        """The weight of each term in the total; a term not named weighs 1."""
        return {}

    def notes(self) -> Mapping[str, Any]:
        """What the method chose by itself, such as a drawn layer mapping: plain values, kept in the record."""
        return {}
