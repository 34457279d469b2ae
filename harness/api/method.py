"""The interface of distillation methods: `Method`, with its options, and all that its methods take and return.

`Stage` and `Needs` are defined in `harness.api.stages`, `Step` in `harness.api.step`, and work before the task, such as
`Augmentation`, in `harness.api.preparation`. All of these names can be imported from here.

The host creates several instances of a method: some for planning, so `stages` must return the same on every call, and
one for each run, which builds the modules and computes the `losses` of every batch, or of parts of a batch. The host
does the rest: teachers, batches, optimizers, the weighted sum of the terms, checkpoints and logging.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from harness.api.batch import Batch, TaskKind
from harness.api.errors import Problem
from harness.api.lazy_torch import nn
from harness.api.model_outputs import ModelOutputs, ModelShape
from harness.api.preparation import FIRST_TEACHER, Augmentation, Cofinetuning, General, MaskedLanguageModel, Row
from harness.api.stages import Needs, Stage, layers
from harness.api.step import LossTerms, Step

if TYPE_CHECKING:  # takes seconds to import
    from transformers import PreTrainedModel

__all__ = [
    "FIRST_TEACHER",
    "Augmentation",
    "Cofinetuning",
    "General",
    "LossTerms",
    "MaskedLanguageModel",
    "Method",
    "MethodConfig",
    "MethodGroup",
    "Needs",
    "Row",
    "Stage",
    "Step",
    "TaskInfo",
    "layers",
]

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
