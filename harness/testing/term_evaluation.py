"""Evaluate a method's loss terms on one batch, as a training step does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from harness.api.batch import Batch, TaskKind
from harness.api.errors import UserError, nearest, problem_list
from harness.api.live import StepModels
from harness.api.method import LossTerms, Method, MethodConfig, Stage, Step, TaskInfo
from harness.api.model_outputs import ModelOutputs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from harness.models.capture import Capture


EXAMPLES = 64
"""Default number of training examples; tiny batches have fewer rows."""

OutputHook = Callable[[str, ModelOutputs], Any]
"""Called with ``student``, ``teacher 1``, ... and the outputs of that model; returns what the method receives."""


def keep_outputs(model: str, outputs: ModelOutputs) -> ModelOutputs:
    """An `OutputHook` that changes nothing."""
    return outputs


@dataclass(frozen=True)
class StepPosition:
    """The position of a step in its stage: step `index`, counted from 0, of `steps`, which take `epochs`.

    Raises:
        UserError: `index` is not from 0 to ``steps - 1``.
    """

    index: int = 0
    steps: int = 1
    epochs: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.steps:
            raise UserError(f"index is {self.index}; with {self.steps} steps, allowed: 0 to {self.steps - 1}")

    @property
    def epoch(self) -> float:
        return self.epochs * self.index / self.steps


def find_method(name: str) -> type[Method]:
    """The registered method of this name. Raises `UserError` if there is none."""
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
    examples: int = EXAMPLES,
) -> Method:
    """Create the method with its options and the shapes of these models, as a run does.

    `examples` is the number of training examples, to which the rows of all batches belong.

    Raises:
        UserError: the method takes another number of teachers, or refuses these models.
    """
    from harness.models.families import shape

    least, most, count = cls.min_teachers, cls.max_teachers, len(teachers)
    if count < least or (most is not None and count > most):
        allowed = str(least) if least == most else f"{least} {'or more' if most is None else f'to {most}'}"
        raise UserError(f"teachers: {cls.name} takes {allowed}, found {count}")
    labels = {"regression": 1, "qa": 2, "text": 0}.get(kind, student.config.num_labels)
    task = TaskInfo("tiny", kind, labels, examples)
    student_shape = shape(student.config, "student")
    teacher_shapes = [shape(teacher.config, f"teacher {i}") for i, teacher in enumerate(teachers, start=1)]
    method = cls(options, task=task, student=student_shape, teachers=teacher_shapes, seed=seed)
    problems = problem_list(method.check(task, student_shape, teacher_shapes))
    if problems:
        raise UserError(*problems)
    return method


def require_supported_needs(method: Method, stage: Stage) -> None:
    """Raise `UserError` if a stage needs outputs that its models do not have, with the messages of `validate`."""
    from harness.resolution.stage_checks import check_needs

    problems = check_needs(stage, method.task, method.student, method.teachers)
    if problems:
        raise UserError(*problems)


class InvalidTerms(UserError):
    """What `losses` or `weights` returned has no valid form: a term is no scalar tensor, or a name is reserved."""


@dataclass(frozen=True)
class EvaluatedTerms:
    """The loss terms of one batch, their weights and weighted total, and the step that computed them."""

    terms: LossTerms
    weights: Mapping[str, float]
    total: Tensor
    step: Step
    logged: Mapping[str, float | Tensor]

    @property
    def modules(self) -> nn.ModuleDict:
        return self.step.modules


def build_modules(method: Method, model: PreTrainedModel) -> nn.ModuleDict:
    """Build a method's modules as a run does, on the device and in the dtype of `model`."""
    from harness.models.initialization import seeded
    from harness.training.method_results import modules_of

    with seeded(method.seed):
        modules = modules_of(method)
    return modules.to(device=model.device, dtype=model.dtype)


def teacher_outputs(teacher: Capture, batch: Batch, needs: Collection[str]) -> ModelOutputs:
    """A teacher's outputs on a batch, in eval mode and without gradients."""
    with torch.no_grad(), _eval_mode(teacher.model):
        return teacher.run(batch.inputs, needs, answer_mask=batch.answer_mask)


TeacherForward = Callable[["Capture", Batch, Collection[str]], ModelOutputs]
"""Runs a teacher on a batch, in eval mode and without gradients."""


def evaluate_terms(
    method: Method,
    stage: Stage,
    batch: Batch,
    student: Capture,
    teachers: Sequence[Capture],
    *,
    progress: StepPosition,
    generator: torch.Generator,
    hook: OutputHook = keep_outputs,
    modules: nn.ModuleDict | None = None,
    teacher_forward: TeacherForward = teacher_outputs,
) -> EvaluatedTerms:
    """Evaluate the loss terms of one batch, with these modules or newly built ones.

    Raises:
        InvalidTerms: the method returns no terms, a term that is not a scalar tensor, or a reserved or duplicate name.
    """
    from harness.training import term_names
    from harness.training.loss_passes import snapshot, terms_of, weighted_sum
    from harness.training.step_needs import needs_at

    modules = build_modules(method, student.model) if modules is None else modules
    logged: dict[str, float | Tensor] = {}
    step = Step(
        stage,
        progress.index,
        progress.steps,
        progress.epoch,
        progress.epochs,
        modules,
        generator,
        log=lambda name, value: logged.__setitem__(name, snapshot(name, value)),
        models=_models_of_step(batch, stage, student, teachers),
    )
    where = f"{method.name}, stage {stage.name!r}"
    with _value_errors_as_invalid_terms(where):
        needs = needs_at(method, step)
    outputs = [
        hook(f"teacher {i}", teacher_forward(teacher, batch, names))
        for i, (teacher, names) in enumerate(zip(teachers, needs.teachers, strict=bool(needs.teachers)), start=1)
    ]
    terms = terms_of(method, step, batch, hook("student", step.student.run(needs.student)), outputs)
    weights = method.weights(step)
    with _value_errors_as_invalid_terms(where):
        total = weighted_sum(terms, weights)
        term_names.check(terms, logged)
    return EvaluatedTerms(terms, weights, total, step, logged)


@contextmanager
def _value_errors_as_invalid_terms(where: str) -> Iterator[None]:
    """Raise `InvalidTerms` for the errors of checks; those of the method's own code are not changed."""
    try:
        yield
    except ValueError as error:
        raise InvalidTerms(f"{where}: {error}") from error


def _models_of_step(batch: Batch, stage: Stage, student: Capture, teachers: Sequence[Capture]) -> StepModels:
    """The models that the method may run itself: the student, teachers in a live stage, the average if there is one."""
    from harness.training.step_models import WeightAverage, step_models

    return step_models(
        batch,
        stage=stage,
        student=student,
        teachers=[_frozen_copy(teacher) for teacher in teachers] if stage.live else (),
        average=WeightAverage.of_stage(stage, student.model),
    )


def _frozen_copy(teacher: Capture) -> Capture:
    """A teacher that a live stage may run: a copy, since freezing it would freeze a student that is the same model."""
    return type(teacher)(copy.deepcopy(teacher.model).eval().requires_grad_(False))


def find_stage(method: Method, kind: TaskKind, name: str | None) -> Stage:
    """The stage of this name; None: the first, or for unlabelled text the text stage. Raises `UserError`."""
    from harness.training.method_results import stages_of

    general = method.general()
    text_stages = [general.stage] if general else []
    stages = {stage.name: stage for stage in (*stages_of(method), *text_stages)}
    if name is None:
        return text_stages[0] if text_stages and kind == "text" else next(iter(stages.values()))
    if name not in stages:
        raise UserError(f"{method.name} has no stage {name!r}; {nearest(name, stages)}")
    return stages[name]


@contextmanager
def _eval_mode(model: PreTrainedModel) -> Iterator[None]:
    """Put the model into eval mode, and restore the mode of every module on exit."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
