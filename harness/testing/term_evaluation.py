"""A method's loss terms on one batch, as a run would have them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from harness.api.batch import Batch, TaskKind
from harness.api.errors import UserError, nearest
from harness.api.method import LossTerms, Method, MethodConfig, Stage, Step, TaskInfo
from harness.api.model_outputs import ModelOutputs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from harness.models.capture import Capture


Show = Callable[[str, ModelOutputs], Any]
"""What a method is shown of a model's tensors: takes ``student``, ``teacher 1``, ... and these."""


def as_they_are(who: str, tensors: ModelOutputs) -> ModelOutputs:
    return tensors


@dataclass(frozen=True)
class Progress:
    """Where in its stage a batch comes: at step `index`, from 0, of `steps`, which last `epochs`."""

    index: int = 0
    steps: int = 1
    epochs: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.steps:
            raise UserError(f"index is {self.index}: steps count from 0, and of {self.steps} end at {self.steps - 1}")

    @property
    def epoch(self) -> float:
        return self.epochs * self.index / self.steps


def loss_terms(
    method: str | type[Method],
    *,
    student: PreTrainedModel,
    teachers: Sequence[PreTrainedModel],
    batch: Mapping[str, Tensor],
    stage: str | None = None,
    config: Mapping[str, Any] | None = None,
    seed: int = 0,
    index: int = 0,
    steps: int = 1,
    epochs: float = 1.0,
) -> dict[str, Tensor]:
    """The unweighted loss terms of one batch, scalars by name, with freshly built modules.

    Teachers are used in eval mode and without gradient, the student as it is given; models, batch and the global
    random state are left as they were. Between equal widths projections are the identity.

    Args:
        method: a method's class, or the name of one that a plugin registers.
        student: a transformers model with a head, float32 or float64.
        teachers: as many as the method takes.
        batch: padded; ``input_ids``, ``attention_mask``, ``token_type_ids`` where the model has them, and ``labels``,
            or ``start_positions``, ``end_positions`` and ``answer_mask``; ``word_ids`` for a method that reads them.
            The kind of task is inferred from the labels; ``labels`` [B, N] are masked tokens of unlabelled text.
        stage: a stage's name; None is the first, or the general stage for unlabelled text.
        config: the method's options; None or {} is every option at its default.
        seed: the run's.
        index: the step, counted from 0, of the stage's `steps`, which last `epochs`: for terms that depend on progress.

    Raises:
        UserError: there is no such method, stage or step; the method refuses these models, or asks for what they cannot
            give; it gives no terms, one that is no scalar, or a name that is taken.
    """
    from harness.models.capture import Capture

    cls = named(method) if isinstance(method, str) else method
    examples = Batch.from_mapping(batch)
    made = bind(cls, cls.Config.model_validate(config or {}), examples.kind, student, teachers, seed=seed)
    chosen = _stage(made, examples.kind, stage)
    refuse_needs(made, chosen)
    computed = compute(
        made,
        chosen,
        examples,
        Capture(student),
        [Capture(teacher) for teacher in teachers],
        at=Progress(index, steps, epochs),
        generator=torch.Generator().manual_seed(seed),
    )
    return dict(computed.terms)


def named(name: str) -> type[Method]:
    """The method that a plugin registers under this name. Raises `UserError` if there is none."""
    from harness.plugin_host.host import Host

    methods = Host.create().methods
    if name not in methods:
        raise UserError(f"there is no method {name!r}; {nearest(name, methods)}")
    return methods[name]


def bind(
    cls: type[Method],
    options: MethodConfig,
    kind: TaskKind,
    student: PreTrainedModel,
    teachers: Sequence[PreTrainedModel],
    *,
    seed: int = 0,
) -> Method:
    """The method, bound to these models as a run's is.

    Raises:
        UserError: it takes another number of teachers, or refuses these models.
    """
    from harness.models.families import shape

    least, most, found = cls.min_teachers, cls.max_teachers, len(teachers)
    if found < least or (most is not None and found > most):
        takes = str(least) if least == most else f"{least} {'or more' if most is None else f'to {most}'}"
        raise UserError(f"teachers: {cls.name} takes {takes}, found {found}")
    labels = {"classification": student.config.num_labels, "regression": 1, "qa": 2, "text": 0}[kind]
    task = TaskInfo("tiny", kind, labels)
    own = shape(student.config, "student")
    theirs = [shape(teacher.config, f"teacher {i}") for i, teacher in enumerate(teachers, start=1)]
    made = cls(options, task=task, student=own, teachers=theirs, seed=seed)
    problems = made.check(task, own, theirs)
    if problems:
        raise UserError(*problems)
    return made


def refuse_needs(method: Method, stage: Stage) -> None:
    """Raise `UserError` for what a stage asks of its models that they cannot give, as a suite does."""
    from harness.resolution.cell_resolution import check_needs

    problems = check_needs(stage, method.task, method.student, method.teachers)
    if problems:
        raise UserError(*problems)


@dataclass(frozen=True)
class Computed:
    """The terms of one batch, and the modules that they were computed with."""

    terms: LossTerms
    modules: nn.ModuleDict


def compute(
    method: Method,
    stage: Stage,
    batch: Batch,
    student: Capture,
    teachers: Sequence[Capture],
    *,
    at: Progress,
    generator: torch.Generator,
    show: Show = as_they_are,
) -> Computed:
    """The terms of one batch, with freshly built modules.

    Raises:
        UserError: the method gives no terms, one that is no scalar, or a name that is taken.
    """
    from harness.models.initialization import seeded
    from harness.training import term_names as names
    from harness.training.run import weighted_sum

    def forward(needs: Collection[str]) -> ModelOutputs:
        return student.run(batch.inputs, needs, answer_mask=batch.answer_mask)

    with seeded(method.seed):
        modules = method.modules(method.student, method.teachers)
    modules = modules.to(device=student.model.device, dtype=student.model.dtype)
    logged: dict[str, float | Tensor] = {}
    step = Step(
        stage,
        at.index,
        at.steps,
        at.epoch,
        at.epochs,
        modules,
        generator,
        log=logged.__setitem__,
        forward_student=forward,
    )
    asked = stage.needs.teachers
    read = [_taught(teacher, batch, names) for teacher, names in zip(teachers, asked, strict=bool(asked))]
    shown = [show(f"teacher {i}", tensors) for i, tensors in enumerate(read, start=1)]
    terms = method.losses(step, batch, show("student", forward(stage.needs.student)), shown)
    try:
        weighted_sum(terms, method.weights(step))
        names.check(terms, logged)
    except ValueError as error:
        raise UserError(f"{method.name}, stage {stage.name!r}: {error}") from error
    return Computed(terms, modules)


def _taught(teacher: Capture, batch: Batch, needs: Collection[str]) -> ModelOutputs:
    with torch.no_grad(), _eval_mode(teacher.model):
        return teacher.run(batch.inputs, needs, answer_mask=batch.answer_mask)


def _stage(method: Method, kind: TaskKind, name: str | None) -> Stage:
    general = method.general()
    before = [general.stage] if general else []
    stages = {each.name: each for each in (*method.stages(), *before)}
    if name is None:
        return before[0] if before and kind == "text" else next(iter(stages.values()))
    if name not in stages:
        raise UserError(f"{method.name} has no stage {name!r}; {nearest(name, stages)}")
    return stages[name]


@contextmanager
def _eval_mode(model: PreTrainedModel) -> Iterator[None]:
    """In eval mode for a while; every module then gets back the mode that it had."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
