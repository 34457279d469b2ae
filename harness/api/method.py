"""The interface of distillation methods: `Method`, `MethodConfig`, `Stage`, `Needs`, `Step`.

The host creates several instances of a method: some for planning, so `stages` must return the same on every call, and
one for each run, which builds the modules and computes the `losses` of every batch, or of parts of a batch. The host
does the rest: teachers, batches, optimizers, the weighted sum of the terms, checkpoints and logging.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, get_args

from pydantic import BaseModel, ConfigDict

from harness.api.batch import Batch, TaskKind
from harness.api.errors import Problem
from harness.api.lazy_torch import nn
from harness.api.live import LiveModel, StepModels
from harness.api.model_outputs import ModelOutputs, ModelShape, name_fault
from harness.api.names import NAME_RULE, is_name
from harness.api.stage_settings import Schedule, StageData, StageStart

if TYPE_CHECKING:  # takes seconds to import
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MethodGroup = Literal[
    "logits",
    "hidden states",
    "attention and relations",
    "multi-teacher",
    "self-distillation",
    "progressive",
    "other",
]
"""What a method is about, in the order of `harness list methods`."""

LossTerms = Mapping[str, "Tensor"]
"""Unweighted loss terms by name, scalars."""


class MethodConfig(BaseModel):
    """The options of a method. In a subclass, give every field a default and a description, which `harness list methods
    NAME` shows. Unknown options are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keyed_separately: ClassVar[frozenset[str]] = frozenset()
    """Options that do not affect the stages on a task, only what happens before them, such as `Augmentation`. That work
    has its own key, which is part of the run's key, so these options are not in the run's key again. A suite that sets
    such an option without effect is an error."""

    added_later: ClassVar[frozenset[str]] = frozenset()
    """Options that are newer than results of the method. At its default such an option is not in a run's key, so that
    these results stay valid; the default must therefore compute what the method computed before."""


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


def _names(what: str, names: Iterable[str]) -> frozenset[str]:
    """The set of names. A string would be the set of its letters."""
    if isinstance(names, str):
        raise ValueError(f"{what} is the string {names!r}; expected a list of names, such as [{names!r}]")
    return frozenset(names)


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


def _above_zero(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


@dataclass(frozen=True)
class TaskInfo:
    """The task of a run.

    Attributes:
        name: the name of the task.
        kind: its kind.
        num_labels: the number of classes; 1 for regression, 2 for extractive QA with start and end logits, 0 for
            unlabelled text.
        examples: the number of tokenized training examples. `Batch.rows` are below it, so that a buffer of
            `Method.modules` can have a row for each example. 0 where the data are not read, as in planning: stages and
            needs must not depend on it.
    """

    name: str
    kind: TaskKind
    num_labels: int
    examples: int = 0


@dataclass(frozen=True)
class Cofinetuning:
    """Joint fine-tuning of a method's teachers on the task, before students learn from them.

    All encoders share one head, a pooling and a prediction layer of the first teacher's width; a teacher of another
    width has a linear map to it. The host trains them together with the first teacher's settings, stores them in the
    cache, scores each of them and shows it on the board under its own name.

    Attributes:
        losses: computes the terms of one step, whose sum is minimized, from the batches and the `ModelOutputs` (with
            `logits`) of all teachers. Teachers with equal tokenizers get the same `Batch`; a teacher with another
            tokenizer gets the same rows in its own tokens, with labels and `answer_mask` for these tokens.
        options: plain values that `losses` depends on; None: all options of the method. They are part of the teachers'
            keys, with the method's name and version, the teachers and the data. Rows share the teachers if these are
            equal, so name a subset, or ``{}``, for options that `losses` does not read.
    """

    losses: Callable[[Sequence[Batch], Sequence[ModelOutputs]], LossTerms]
    options: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class General:
    """Distillation on unlabelled text before any task (text stage); its student and its modules initialize the runs of
    all tasks and seeds.

    Teacher and student are masked language models; the teacher is the pretrained checkpoint. The suite's `general` sets
    the text and the number of steps; without it there is no text stage. `Method.losses` is called with this stage and
    batches of kind ``text``, whose `labels` are the original tokens at masked positions.

    Attributes:
        stage: needs and name of the stage; the name must differ from the stages on a task. `logits` are over the
            vocabulary, [B, N, V].
        masking: share of tokens to mask; 80 % of them become [MASK], 10 % another token, 10 % stay unchanged (Devlin et
            al. 2019, section 3.1). 0: no masking.
        smoothing: 0: every token is masked with equal probability, at least one in each text. Above 0: the share of a
            batch's tokens is drawn without replacement, with weights count^-smoothing for a token's count in the text,
            so that rare tokens are masked more often (Sanh et al. 2019, authors' code: 0.7).
        options: plain values that `losses` and `modules` depend on in this stage; None: all options of the method. They
            are part of the key, with the method's name and version, the settings of the stage, the teacher, the student
            and the text. Rows share the stage if these are equal, so name a subset, or ``{}``, for options that neither
            of the two reads.
        assistant: the teacher first trains an assistant, which then teaches the student. The assistant has the
            student's sizes (``layers``, ``hidden``, ``heads``, ``ffn``) with these replacements.
    """

    stage: Stage
    masking: float = 0.0
    smoothing: float = 0.0
    options: Mapping[str, Any] | None = None
    assistant: Mapping[str, int] | None = None


Row = Mapping[str, Any]
"""A training example by column (see `harness.api.task.Splits`)."""


class MaskedLanguageModel(Protocol):
    """A masked language model for `Augmentation.make`, in eval mode and float32, on the suite's device."""

    tokenizer: PreTrainedTokenizerBase
    longest: int
    """The maximum sequence length, including special tokens."""

    @property
    def device(self) -> torch.device:
        """The device of the model."""

    @property
    def embeddings(self) -> Tensor:
        """The input embedding matrix, [V, E]."""

    def predict(self, sequences: Sequence[Sequence[int]], places: Sequence[int]) -> Iterator[tuple[list[int], Tensor]]:
        """Predict the token at one position of each sequence. Yields (indices of sequences, logits [len(indices), V]).

        Sequences include special tokens, and the mask token at the position to predict (`places`). Sequences of similar
        length share a batch, so results are not in the order of the sequences.
        """


FIRST_TEACHER = "pretrained checkpoint of the first teacher"
"""`Augmentation.model`: the masked language model is the pretrained checkpoint of the method's first teacher."""


@dataclass(frozen=True)
class Augmentation:
    """A training set that a method generates from the task's own, before training and once for all runs that use it.

    The host loads the masked language model, if `make` uses one, stores the rows in the cache, and trains on them in
    place of the original rows for the same number of steps. Runs on augmented data see other batches, so they form
    their own cohort. Validation data do not change.

    Attributes:
        make: returns the new rows, in order, from the original rows, the language model (None without one) and
            `files`. Columns must be the same and ids unique. Called once and consumed row by row, so it may be a
            generator. Raises `UserError` for invalid files.
        options: plain values that `make` depends on; None: all options of the method. They are part of the key, with
            the method's name and version, the data, the model and the contents of the files. Rows share the data if
            these are equal, so name a subset, or ``{}``, for options that `make` does not read.
        model: hub id or folder of a masked language model; `FIRST_TEACHER`; or None: no language model is loaded.
        files: further files that `make` reads, as named in the suite.
        option: the option of the method that names the model, as a dotted path such as ``augment.model``, for error
            messages; None: no option does.
    """

    make: Callable[[Iterable[Row], Any, Sequence[Path]], Iterable[Row]]
    """Its second argument is a `MaskedLanguageModel`, or None if `model` is None."""
    options: Mapping[str, Any] | None = None
    model: str | None = None
    files: Sequence[str] = ()
    option: str | None = None

    @property
    def remedy(self) -> str:
        """The end of an error message about the model: how a suite names another one."""
        if self.option is None:
            return "the method has no option that names another model"
        *outer, last = self.option.split(".")
        value = f"{last}: hub id or folder"
        for name in reversed(outer):
            value = f"{name}: {{{value}}}"
        return f"set `{value}`"


@dataclass
class Step:
    """The state of a run at one training step.

    Attributes:
        stage: the current stage.
        index: the step in the stage, from 0.
        steps: the number of steps of the stage.
        epoch: epochs since the start of the stage.
        epochs: the length of the stage in epochs.
    """

    stage: Stage
    index: int
    steps: int
    epoch: float
    epochs: float
    modules: nn.ModuleDict
    """The modules that `Method.modules` returned, which the host trains."""
    generator: torch.Generator
    """The run's random generator, on the CPU; stored in checkpoints, and independent of other runs of the cohort."""
    log: Callable[[str, float | Tensor], None] = field(default=lambda name, value: None)
    """Log a value in addition to the losses; its name must differ from the terms and from ``loss``."""
    scratch: dict[str, Any] = field(default_factory=dict)
    """Values of this step that the calls of `Method.losses`, one for each part of the batch, leave for each other and
    for `Method.after_step`. Empty at the start of every step, and of every repeated attempt of a step. Detach tensors
    that are stored here, or their graphs stay in memory until the end of the step."""
    models: StepModels = field(default_factory=StepModels)
    """Used by `student`, `teachers` and `average`."""

    @property
    def progress(self) -> float:
        """The share of the stage's steps that are done: index / steps, from 0 to below 1."""
        return self.index / self.steps

    @property
    def student(self) -> LiveModel:
        """The student, for further forward passes with new dropout and gradients."""
        if self.models.student is None:
            raise RuntimeError("this step has no student for another forward pass")
        return self.models.student

    @property
    def teachers(self) -> Sequence[LiveModel]:
        """The teachers, in the order of the method's teachers. Raises `RuntimeError` in a stage that is not live."""
        if self.models.teachers is None:
            raise RuntimeError(
                f"stage {self.stage.name!r} does not run its teachers; declare Stage({self.stage.name!r}, live=True)"
            )
        return self.models.teachers

    @property
    def average(self) -> LiveModel:
        """The student with the moving average of its weights. Raises `RuntimeError` if the stage has none."""
        if self.models.average is None:
            raise RuntimeError(
                f"stage {self.stage.name!r} keeps no average; declare Stage({self.stage.name!r}, average=0.999)"
            )
        return self.models.average


class Method(ABC):
    """A distillation method. A subclass sets `name` and implements `stages` and `losses`.

    Attributes of an instance: `config` (an instance of `Config`), `task`, `student` and `teachers` (the shapes of the
    models, in the order of the method's teachers) and `seed` (of the run).
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    """Part of every run's key. Increase it when a change of the code changes results."""
    citation: ClassVar[str] = ""
    """BibTeX; empty if the method has no paper."""
    summary: ClassVar[str] = ""
    """One line for `harness list methods`."""
    group: ClassVar[MethodGroup] = "other"
    """The group of `harness list methods` that shows the method."""
    min_teachers: ClassVar[int] = 1
    max_teachers: ClassVar[int | None] = 1
    """The number of teachers; `max_teachers` None: no maximum. Both are 0 for a baseline without a teacher."""
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
        """Return errors for models or tasks that the method does not support; messages name both conflicting values.

        May be a generator. Called right after construction, before `stages` and `modules`, and before any training.
        """
        return ()

    def cofinetuning(self) -> Cofinetuning | None:
        """Joint fine-tuning of the method's teachers; None: teachers are fine-tuned separately.

        Many runs share the teachers, so the result must not depend on the student or the seed.
        """
        return None

    def general(self) -> General | None:
        """The method's stage on unlabelled text; None: it has none. The result must not depend on the seed."""
        return None

    def augmentation(self) -> Augmentation | None:
        """Data augmentation of the task's training set; None: no augmentation.

        Many runs share the augmented data, so the result must not depend on the student or the seed.
        """
        return None

    def initialize(self, student: PreTrainedModel, teachers: Sequence[PreTrainedModel]) -> None:
        """Change the student's initial weights in place, before the first step.

        `teachers` are the fine-tuned teachers, with heads, in the order of the method's teachers. They are shared with
        other runs: do not change them. All models are in eval mode, in float32 and on the CPU. Random numbers of torch
        are seeded with the run's seed. The host loads the teachers only for methods that define this.
        """
        return

    @abstractmethod
    def stages(self) -> Sequence[Stage]:
        """The stages of a run, in order: at least one, with unique names.

        Must be a pure function of options, task, shapes and seed: it is called many times, on several instances.
        """

    def modules(self, student: ModelShape, teachers: Sequence[ModelShape]) -> nn.ModuleDict:
        """Build projections and, as buffers, the method's state. The host trains and checkpoints them; they are not
        exported with the student.

        If a step is repeated after an out-of-memory error, buffers are restored; attributes are not. Initialized under
        the run's seed. Modules that the losses of a stage do not use are not changed in that stage. Runs whose student
        starts from the method's text stage continue with that stage's modules: with every parameter and buffer whose
        name and shape are the same there; the others keep their initial values.
        """
        return nn.ModuleDict()

    @abstractmethod
    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        """The unweighted loss terms of one batch, or of a part of it, in the stage `step.stage`: scalars by name. The
        name ``loss`` is reserved for the weighted total.

        Outputs of `student` have gradients. Outputs of `teachers` have none and are shared with other runs: do not
        change them in place.
        """

    def weights(self, step: Step) -> Mapping[str, float]:
        """The weights of the terms in the total; the default weight is 1.

        The mapping may name terms of other stages. A nonzero weight for a name that is no term of any stage fails the
        run at its end, because a misspelled term would have had weight 1.
        """
        return {}

    def needs(self, step: Step) -> Needs:
        """The outputs that `losses` reads at this step: a subset of `step.stage.needs`, the default.

        Teachers that run in this process, and the student, run only to the deepest output needed at the step; outputs
        of other steps are computed only if another run of the cohort needs them. `step.stage.needs` stays the union
        over the stage: it decides what is cached.

        Must depend only on options, task, shapes, seed and progress, for example on a draw from `seeded_choice` with
        the run's seed and the epoch. Do not draw from `step.generator`: the host may call this several times.
        """
        return step.stage.needs

    def learning_rates(self, step: Step) -> Mapping[str, float]:
        """Factors of the learning rate at this step, by parameter group; the default factor is 1.

        The groups are ``embeddings``; ``layer[1]``, ``layer[2]``, ...; ``head``, all of the
        student behind its last layer, such as pooler and classifier; and ``modules``, those of `modules`. The factor of
        ``modules.NAME`` replaces that of ``modules`` for one of them. Factor 0: the parameters do not change in this
        step, not by weight decay either, and their gradients do not count in the norm that is clipped. Weights that
        several groups share (the layers of ALBERT) have the largest factor of these groups.

        `Stage.frozen` takes the same names, for a whole stage, and saves the computation of the gradients.
        """
        return {}

    def after_step(self, step: Step) -> None:  # noqa: B027 - a method without state does not define it
        """Update the method's state after the optimizer has updated the weights: buffers of `step.modules`, in place.

        Called once for each step, without gradients, under the run's random state. `step.scratch` holds what `losses`
        has left there. In fp16 it is also called after a step that was skipped because gradients overflowed.
        """

    def notes(self) -> Mapping[str, Any]:
        """Choices of the method, such as a randomly drawn layer mapping, as plain values for the record."""
        return {}
