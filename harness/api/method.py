"""The interface that the author of a method reads: `Method`, `MethodConfig`, `Stage`, `Needs`.

A method is a typed object in the training loop. The host builds several: some to ask what they would do, for which
`stages` must give the same whenever it is called, and one for each run, which it asks for its modules and then for the
`losses` of every batch, or of parts of it. It does the rest itself: teachers, batches, optimisers, weighing and summing
of the terms, checkpoints, logging.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, get_args

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from harness.api.batch import Batch, TaskKind
from harness.api.errors import Problem
from harness.api.model_outputs import ModelOutputs, ModelShape
from harness.api.names import NAME_RULE, is_name
from harness.api.stage_settings import Schedule, StageData

if TYPE_CHECKING:  # takes seconds to import
    from transformers import PreTrainedTokenizerBase

LossTerms = Mapping[str, Tensor]


class MethodConfig(BaseModel):
    """The options of a method. Subclass it; give every field a default and a description, which `harness list methods
    NAME` shows. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keyed_separately: ClassVar[frozenset[str]] = frozenset()
    """Options that the stages on the task know nothing of: what they decide before that, such as `Augmentation`, has a
    key of its own, which is part of the run's. A suite in which such an option decides nothing is refused."""


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
    stage a length of its own. `lr` (peak learning rate), `warmup_ratio` (share of the stage's steps) and `schedule`
    (after warm-up: ``linear``, ``constant``, ``cosine``) default to the suite's. With `data` ``task`` a stage trains on
    the task's own data even where the method has an `Augmentation`. Parameters of the student whose dotted name has one
    of `frozen` among its parts (``position_embeddings``) are not trained in the stage. Terms named in `batch_dependent`
    compare the examples of a batch with each other, so the host never splits the batch under them. All others are means
    over the examples: `losses` is called on parts of a batch (groups of similar length, and smaller parts where memory
    does not suffice), which count by their shares of it.

    Raises:
        ValueError: the name is invalid, a number is out of range, `schedule` or `data` is unknown, or both `epochs` and
            `steps` are given.
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

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise ValueError(f"a stage's name is made of {NAME_RULE}; found {self.name!r}")
        given = {"share": self.share, "epochs": self.epochs, "lr": self.lr}
        for key, value in given.items():
            if (value is not None or key == "share") and not _above_zero(value):
                raise ValueError(f"stage {self.name!r}: {key} is {value!r}, and must be a number above 0")
        if self.steps is not None and not (isinstance(self.steps, int) and self.steps >= 1):
            raise ValueError(f"stage {self.name!r}: steps is {self.steps!r}, and must be a whole number above 0")
        if self.epochs is not None and self.steps is not None:
            both = f"epochs is {self.epochs!r} and steps {self.steps!r}"
            raise ValueError(f"stage {self.name!r}: {both}; its length is given by one of them")
        warmup = self.warmup_ratio
        if warmup is not None and not (warmup == 0 or (_above_zero(warmup) and warmup < 1)):
            raise ValueError(f"stage {self.name!r}: warmup_ratio is {warmup!r}, and must be a number from 0 to below 1")
        for key, allowed in {"schedule": (None, *get_args(Schedule)), "data": get_args(StageData)}.items():
            if (value := getattr(self, key)) not in allowed:
                names = ", ".join(repr(name) for name in allowed if name)
                raise ValueError(f"stage {self.name!r}: {key} is {value!r}; allowed: {names}")


def _above_zero(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


@dataclass(frozen=True)
class TaskInfo:
    """What a method may know of the task: its name, its kind, and the number of classes (1 for regression, 2 logits
    per token for extractive QA, 0 for text)."""

    name: str
    kind: TaskKind
    num_labels: int


def _no_student(needs: Collection[str]) -> ModelOutputs:
    raise RuntimeError("this step has no student to run again")


@dataclass(frozen=True)
class Cofinetuning:
    """Teachers that are trained together on the task, before students learn from them.

    The host puts all encoders under one head: a pooling and a prediction layer, in the first teacher's width; a
    teacher of another width reaches it through a linear map of its own. It trains them side by side with the first
    teacher's settings, keeps them in the cache, scores each, and shows it on the board under a name of its own.

    Attributes:
        losses: the terms of one batch, whose sum is minimised, from the batch of each teacher and its `ModelOutputs`,
            which hold its `logits`. Teachers with the same tokenizer get the same `Batch`; one with another tokenizer
            gets the same rows in its own tokens, with labels and `answer_mask` in those.
        options: plain values that `losses` depends on. They are part of the teachers' keys, beside the method's name
            and version, the teachers and the data.
    """

    losses: Callable[[Sequence[Batch], Sequence[ModelOutputs]], LossTerms]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class General:
    """A stage on unlabelled text, before any task: the student that it makes is where those of all tasks and seeds
    begin.

    Teacher and student are masked-language models, the teacher as it was pretrained. The suite says which text, and
    how many steps; without that there is no general stage. `Method.losses` is called with this stage, and with batches
    of kind ``text``: their `labels` are the tokens that were masked.

    Attributes:
        stage: its needs, and a name that no stage on the task has; `logits` are over the vocabulary, [B, N, V].
        masking: share of the tokens that are masked (of them 80 % as [MASK], 10 % as another token, 10 % as they are:
            Devlin et al. 2019, section 3.1); 0: none.
        smoothing: 0: every token is masked with the same probability, at least one in each text. Above 0: that share of
            a batch's tokens is drawn without replacement, by weights that are the token's count in the text to the
            power of -smoothing, so that rare tokens are masked more often (Sanh et al. 2019, authors' code: 0.7).
        options: plain values that `losses` depends on in this stage. They are part of the key, beside the method's
            name and version, the teacher, the student and the text.
        assistant: the teacher first teaches an assistant, and that one the student: the student's sizes (``layers``,
            ``hidden``, ``heads``, ``ffn``) with these put in.
    """

    stage: Stage
    masking: float = 0.0
    smoothing: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)
    assistant: Mapping[str, int] | None = None


Row = Mapping[str, Any]
"""An example of a training set, by column (see `harness.api.task.Splits`)."""


class MaskedLanguageModel(Protocol):
    """A masked language model as `Augmentation.make` receives it: in eval mode and float32, on the host's device."""

    tokenizer: PreTrainedTokenizerBase
    longest: int
    """The most tokens of a sequence, special tokens included."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    @property
    def embeddings(self) -> Tensor:
        """The input embeddings, [V, E]."""

    def predict(self, sequences: Sequence[Sequence[int]], places: Sequence[int]) -> Iterator[tuple[list[int], Tensor]]:
        """Predict the token at one position of each sequence. Yields (indices of sequences, logits [len(indices), V]).

        Sequences hold their special tokens, and the mask token at the position that is asked for. Sequences of similar
        lengths share a batch, so results come in another order than the sequences.
        """


@dataclass(frozen=True)
class Augmentation:
    """A training set made from the task's own, before any training: once for all runs that ask for the same.

    The host reads the masked language model, keeps the rows in the cache, and trains on them in place of the original
    ones, for as many steps. Whoever learns from other data sees other batches, so those runs are a cohort of their own.
    What is scored stays as it is.

    Attributes:
        make: the new rows, in order, from the original ones, the language model and `files`. Columns are the same, ids
            are unique. Called once, and read row by row: it may be a generator. Raises `UserError` for files that it
            cannot read.
        options: plain values that `make` depends on. They are part of the key, beside the method's name and version,
            the data, the model and the contents of the files.
        model: hub id or folder of a masked language model; None: the first teacher's own, as it was pretrained.
        files: what `make` reads beside that, as the suite names it.
        option: the method's option that asks for it, whose key `model` names the model: for messages.
    """

    make: Callable[[Iterable[Row], MaskedLanguageModel, Sequence[Path]], Iterable[Row]]
    options: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    files: Sequence[str] = ()
    option: str = "augment"


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
    """Log a value of the method's own beside the losses, under a name that neither a term nor the total has."""
    forward_student: Callable[[Collection[str]], ModelOutputs] = _no_student
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

        Teachers serve many runs, so the answer depends on neither the student nor the seed.
        """
        return None

    def general(self) -> General | None:
        """The method's stage on unlabelled text; None: it has none. The answer does not depend on the seed."""
        return None

    def augmentation(self) -> Augmentation | None:
        """Training data that are made from the task's own; None: it learns from those as they are.

        They serve many runs, so the answer depends on neither the student nor the seed.
        """
        return None

    @abstractmethod
    def stages(self) -> Sequence[Stage]:
        """The stages of a run, in order; at least one. Their names are unique.

        A pure function of options, task, shapes and seed: it is called many times, on several instances.
        """

    def modules(self, student: ModelShape, teachers: Sequence[ModelShape]) -> nn.ModuleDict:
        """Projections and, as buffers, the method's state: trained and checkpointed by the host, never exported.
        Where memory does not suffice for a step and it is done again, buffers are put back; attributes are not.

        Built under the run's own seed. Modules that a stage's losses do not reach keep their values in that stage.
        """
        return nn.ModuleDict()

    @abstractmethod
    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        """The unweighted loss terms of one batch, scalars by name, of the stage that `step` tells. None is called
        ``loss``, which is the weighted total.

        `student` carries gradients; `teachers` carry none and are shared with other runs: never change one in place.
        """

    def weights(self, step: Step) -> Mapping[str, float]:
        """The weight of each term in the total; a term not named weighs 1.

        Terms of other stages may be named too. A weight other than 0 of a name that is no stage's term fails the run
        at its end: it was meant for another, which has weighed 1.
        """
        return {}

    def notes(self) -> Mapping[str, Any]:
        """What the method chose by itself, such as a drawn layer mapping: plain values, kept in the record."""
        return {}
