"""Cases for the conformance checks: each stage of a method with a tiny student, its teachers and one batch."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from harness.api.batch import NOT_MASKED, Batch, TaskKind
from harness.api.errors import UserError
from harness.api.method import General, Method, MethodConfig, Stage
from harness.api.model_outputs import ModelOutputs
from harness.models.capture import Capture
from harness.models.initialization import seeded
from harness.testing.term_evaluation import (
    EXAMPLES,
    EvaluatedTerms,
    OutputHook,
    StepPosition,
    bind,
    build_modules,
    evaluate_terms,
    keep_outputs,
    require_supported_needs,
    teacher_outputs,
)
from harness.testing.tiny_models import tiny_batch, tiny_model
from harness.training.method_results import stages_of

CLASSES = 3
SHARPNESS = 14
"""Factor on the weight matrices of random models, so that their attention is far from uniform."""

FIRST_STEP, *LATER_STEPS = (StepPosition(index, 10, 2.0) for index in (0, 5, 9))


class CheckFailed(Exception):
    """The method fails a check; the message gives the reason, with numbers."""


class CheckNotApplicable(Exception):
    """The check does not apply to the method; the message gives the reason."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of a tiny model."""

    layers: int
    hidden: int = 16
    heads: int = 4
    ffn: int = 32


PAIRS = [(Sizes(student), Sizes(teacher)) for student, teacher in ((2, 4), (2, 2), (1, 1), (3, 12), (4, 12), (6, 12))]
"""Sizes of student and teachers. A method is checked on the first pair that it accepts."""


@functools.cache
def random_model(kind: TaskKind, sizes: Sizes, seed: int) -> Capture:
    """A random model with non-uniform attention. It is cached, so no check may change it."""
    model = tiny_model(kind=kind, num_labels=CLASSES, seed=seed, **asdict(sizes))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "embeddings" not in name:
                parameter.mul_(SHARPNESS)
    return Capture(model)


@dataclass(frozen=True)
class Case:
    """A stage with a student, teachers, a batch and the progress of training.

    Every evaluation builds a new method and modules, so evaluations do not depend on each other.
    """

    method: type[Method]
    options: MethodConfig
    stage: Stage
    batch: Batch
    student: Capture
    teachers: tuple[Capture, ...]
    progress: StepPosition = FIRST_STEP
    seed: int = 0
    state: Mapping[str, Tensor] | None = None
    """Parameters and buffers of the modules after some training; None: newly built modules."""

    def __str__(self) -> str:
        count = len(self.teachers)
        teachers = f", {count} teachers" if count > 1 else ""
        later = f", step {self.progress.index + 1} of {self.progress.steps}" if self.progress != FIRST_STEP else ""
        trained = ", after training" if self.state is not None else ""
        return f"stage {self.stage.name!r}{teachers}{later}{trained}"

    def bind(self, *, examples: int = EXAMPLES) -> Method:
        """A new instance of the method, bound to the models of the case."""
        models = [teacher.model for teacher in self.teachers]
        return bind(
            self.method, self.options, self.batch.kind, self.student.model, models, seed=self.seed, examples=examples
        )

    def evaluate(self, *, draws: int = 0, hook: OutputHook = keep_outputs) -> EvaluatedTerms:
        """The loss terms; `draws` seeds all random numbers."""
        generator = torch.Generator().manual_seed(draws)
        method = self.bind()
        modules = build_modules(method, self.student.model)
        if self.state is not None:
            modules.load_state_dict(self.state)
        with seeded(draws):
            return evaluate_terms(
                method,
                self.stage,
                self.batch,
                self.student,
                self.teachers,
                progress=self.progress,
                generator=generator,
                hook=hook,
                modules=modules,
                teacher_forward=shared_forward,
            )

    def values(self, *, draws: int = 0) -> dict[str, float]:
        """The values of the loss terms by name."""
        return self.drawn if draws == 0 else _values(self.evaluate(draws=draws))

    @cached_property
    def drawn(self) -> dict[str, float]:
        """The values of the loss terms by name, for one seed of all random numbers."""
        return _values(self.evaluate())

    @cached_property
    def has_state(self) -> bool:
        """Whether the modules have buffers."""
        return any(True for _ in build_modules(self.bind(), self.student.model).buffers())

    @cached_property
    def random(self) -> frozenset[str]:
        """Names of the terms that draw random numbers. A change of the batch changes these numbers, too."""
        first, second = self.values(draws=0), self.values(draws=1)
        return frozenset(name for name in first if first[name] != second.get(name))

    def gradients(self, term: Tensor) -> list[Tensor]:
        """The gradients of the term for the student's parameters, without those that it does not reach."""
        if not term.requires_grad:
            return []
        parameters = [parameter for parameter in self.student.model.parameters() if parameter.requires_grad]
        gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
        return [gradient for gradient in gradients if gradient is not None]


def _values(evaluated: EvaluatedTerms) -> dict[str, float]:
    return {name: term.item() for name, term in evaluated.terms.items()}


@dataclass(frozen=True, eq=False)
class _Forward:
    """The outputs of a teacher on a batch, and the versions of their tensors, which in-place changes increase."""

    outputs: ModelOutputs
    versions: tuple[int, ...]

    @property
    def is_intact(self) -> bool:
        return _versions(self.outputs) == self.versions


def _versions(outputs: ModelOutputs) -> tuple[int, ...]:
    return tuple(tensor._version for tensor in outputs.tensors())


class _SharedForwards:
    """Runs each teacher once on each batch of the checks, for each set of outputs.

    Keys are objects, not their contents: the models and batches of the checks are never changed.
    """

    def __init__(self, most: int = 200) -> None:
        self._most = most
        self._kept: dict[tuple[int, int, frozenset[str]], tuple[Capture, Batch, _Forward]] = {}

    def __call__(self, teacher: Capture, batch: Batch, needs: Collection[str]) -> ModelOutputs:
        if torch.is_autocast_enabled("cpu"):
            return teacher_outputs(teacher, batch, needs)
        key = (id(teacher), id(batch), frozenset(needs))  # both are kept, so that no other object gets their ids
        if key not in self._kept or not self._kept[key][2].is_intact:
            if len(self._kept) >= self._most:
                self._kept.clear()
            outputs = teacher_outputs(teacher, batch, needs)
            self._kept[key] = (teacher, batch, _Forward(outputs, _versions(outputs)))
        return self._kept[key][2].outputs


shared_forward = _SharedForwards()
"""Runs a teacher of a case on a batch, unless it has been run on that batch before."""


def gradient_norm(gradients: Sequence[Tensor]) -> float:
    """The L2 norm of all gradients together."""
    return math.hypot(*(float(gradient.norm()) for gradient in gradients))


class Subject:
    """A method with its options, and the kind of task to check it on."""

    def __init__(self, method: type[Method], options: MethodConfig, kind: TaskKind) -> None:
        self.method = method
        self.options = options
        self.kind = kind

    @cached_property
    def sizes(self) -> tuple[Sizes, Sizes]:
        """Sizes of the student and its teachers: the first of `PAIRS` that the method accepts.

        Raises:
            NotApplicable: it refuses all of them.
        """
        reasons: list[str] = []
        for student, teacher in PAIRS:
            try:
                self.cases_for(student, teacher)
            except UserError as error:
                reasons.append(str(error))
            else:
                return student, teacher
        raise CheckNotApplicable(reasons[0])

    @cached_property
    def cases(self) -> list[Case]:
        """Every stage, with the fewest and the most teachers."""
        return self.cases_for(*self.sizes)

    @cached_property
    def steps(self) -> list[list[Case]]:
        """For each case, the case at its first step and at later steps."""
        return [[case, *(replace(case, progress=progress) for progress in LATER_STEPS)] for case in self.cases]

    def cases_for(self, student: Sizes, teacher: Sizes, *, same_model: bool = False) -> list[Case]:
        """The cases with models of these sizes; `same_model`: student and teachers are one model.

        Raises:
            UserError: the method refuses the models.
            NotApplicable: the method has no stage for this kind of task.
        """
        cases: list[Case] = []
        student_model = random_model(self.kind, student, 1)
        for count in self.teachers:
            teachers = tuple(
                student_model if same_model else random_model(self.kind, teacher, 10 + i) for i in range(count)
            )
            models = [teacher.model for teacher in teachers]
            method = bind(self.method, self.options, self.kind, student_model.model, models)
            for stage in self.stages(method):
                require_supported_needs(method, stage)
                batch = example_batch(self.kind, masked=self.kind != "text" or bool(self.general(method).masking))
                cases.append(Case(self.method, self.options, stage, batch, student_model, teachers))
        return cases

    @property
    def teachers(self) -> tuple[int, ...]:
        """Numbers of teachers to check with: the fewest and the most, two if there is no maximum, one on text."""
        least, most = self.method.min_teachers, self.method.max_teachers
        if self.kind == "text":
            if most == 0:
                raise CheckNotApplicable("it has no teacher, so no stage on unlabelled text")
            return (1,)
        return tuple(sorted({least, max(2, least + 1) if most is None else most}))

    def stages(self, method: Method) -> Sequence[Stage]:
        """The stages for this kind of task."""
        return [self.general(method).stage] if self.kind == "text" else stages_of(method)

    def general(self, method: Method) -> General:
        """The text stage. Raises `CheckNotApplicable` if the method has none."""
        general = method.general()
        if general is None:
            raise CheckNotApplicable("it has no stage on unlabelled text")
        return general


@functools.cache
def example_batch(kind: TaskKind, *, masked: bool = True) -> Batch:
    """Four examples of different lengths; text is masked only if the text stage masks tokens."""
    batch = Batch.from_mapping(tiny_batch(kind, length=9, num_labels=CLASSES, seed=3), kind)
    if not masked:
        return replace(batch, labels=torch.full_like(batch.labels, NOT_MASKED))
    return batch


def expect_equal_terms(
    case: Case, terms: Mapping[str, float], others: Mapping[str, float], what: str, *, rel: float, least: float
) -> None:
    """Raise `CheckFailed` unless both have the same terms with equal values, up to tolerance `rel` or `least`.

    `what` says in the message how `others` were computed.
    """
    if terms.keys() != others.keys():
        raise CheckFailed(f"{case}: the terms are {', '.join(terms)}; {what} {', '.join(others) or 'none'}")
    for name, value in terms.items():
        if not math.isclose(value, others[name], rel_tol=rel, abs_tol=least):
            raise CheckFailed(f"{case}: {name} is {value:.6g}; {what} {others[name]:.6g}")


def deterministic_terms(
    case: Case, values: Mapping[str, float], *, exclude: frozenset[str] = frozenset()
) -> dict[str, float]:
    """The terms that draw no random numbers and are not in `exclude`."""
    return {name: value for name, value in values.items() if name not in case.random | exclude}


def check_cases(cases: Sequence[Case], check: Callable[[Case], bool], otherwise: str) -> None:
    """Run `check` on every case. Raises `CheckNotApplicable`, with the message `otherwise`, if it compared no term."""
    if not [case for case in cases if check(case)]:
        raise CheckNotApplicable(otherwise)
