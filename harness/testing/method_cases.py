"""What checks are made on: a method's stages, each on a tiny student, its teachers and one batch."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from harness.api.batch import NOT_MASKED, Batch, TaskKind
from harness.api.errors import UserError
from harness.api.method import General, Method, MethodConfig, Stage
from harness.models.capture import Capture
from harness.models.initialization import seeded
from harness.testing.term_evaluation import Computed, Progress, Show, as_they_are, bind, compute, refuse_needs
from harness.testing.tiny_models import tiny_batch, tiny_model

CLASSES = 3
SHARPNESS = 14
"""What a random model's matrices are multiplied by, so that its attention is far from uniform."""

BEGINNING, *LATER = (Progress(index, 10, 2.0) for index in (0, 5, 9))


class CheckFailed(Exception):
    """The method does not pass a check; the message says why, with numbers."""


class NotApplicable(Exception):
    """The check says nothing of the method; the message says why."""


@dataclass(frozen=True)
class Sizes:
    """Of a tiny model."""

    layers: int
    hidden: int = 16
    heads: int = 4
    ffn: int = 32


PAIRS = [(Sizes(student), Sizes(teacher)) for student, teacher in ((2, 4), (2, 2), (1, 1), (3, 12), (4, 12), (6, 12))]
"""Students and their teachers. A method is checked on the first pair that it does not refuse."""


@functools.cache
def model(kind: TaskKind, sizes: Sizes, seed: int) -> Capture:
    """A random model with opinions. Many checks use it: each leaves it as it was."""
    made = tiny_model(kind=kind, num_labels=CLASSES, seed=seed, **asdict(sizes))
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.ndim == 2 and "embeddings" not in name:
                parameter.mul_(SHARPNESS)
    return Capture(made)


@dataclass(frozen=True)
class Case:
    """A stage on a student, its teachers and a batch, at some progress. Terms can be computed as often as need be: each
    time with a method and modules of their own."""

    method: type[Method]
    options: MethodConfig
    stage: Stage
    batch: Batch
    student: Capture
    teachers: tuple[Capture, ...]
    at: Progress = BEGINNING

    def __str__(self) -> str:
        count = len(self.teachers)
        taught = f", {count} teachers" if count > 1 else ""
        later = f", step {self.at.index + 1} of {self.at.steps}" if self.at != BEGINNING else ""
        return f"stage {self.stage.name!r}{taught}{later}"

    def bound(self) -> Method:
        models = [teacher.model for teacher in self.teachers]
        return bind(self.method, self.options, self.batch.kind, self.student.model, models)

    def compute(self, *, draws: int = 0, show: Show = as_they_are) -> Computed:
        """The terms; `draws` seeds all that is random in them."""
        generator = torch.Generator().manual_seed(draws)
        with seeded(draws):
            return compute(
                self.bound(),
                self.stage,
                self.batch,
                self.student,
                self.teachers,
                at=self.at,
                generator=generator,
                show=show,
            )

    def values(self, *, draws: int = 0) -> dict[str, float]:
        return {name: term.item() for name, term in self.compute(draws=draws).terms.items()}

    @cached_property
    def random(self) -> frozenset[str]:
        """Terms that draw random numbers: what changes a batch changes the draws."""
        one, other = self.values(draws=0), self.values(draws=1)
        return frozenset(name for name in one if one[name] != other.get(name))

    def gradients(self, term: Tensor) -> list[Tensor]:
        """What the term would have the student's parameters do; of those that it reaches."""
        if not term.requires_grad:
            return []
        parameters = list(self.student.model.parameters())
        found = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
        return [gradient for gradient in found if gradient is not None]


def size(gradients: Sequence[Tensor]) -> float:
    """The norm over all of them."""
    return math.hypot(*(float(gradient.norm()) for gradient in gradients))


class Subject:
    """A method with its options, and a kind of task to check it on."""

    def __init__(self, method: type[Method], options: MethodConfig, kind: TaskKind) -> None:
        self.method = method
        self.options = options
        self.kind = kind

    @cached_property
    def sizes(self) -> tuple[Sizes, Sizes]:
        """Of the student and its teachers: the first pair that the method takes, with every number of teachers.

        Raises:
            NotApplicable: it takes none.
        """
        reasons: list[str] = []
        for student, teacher in PAIRS:
            try:
                self.on(student, teacher)
            except UserError as error:
                reasons.append(str(error))
            else:
                return student, teacher
        raise NotApplicable(reasons[0])

    @cached_property
    def cases(self) -> list[Case]:
        """Every stage with every number of teachers."""
        return self.on(*self.sizes)

    @cached_property
    def steps(self) -> list[Case]:
        """The cases as they begin, and again later on where the terms have changed by then."""
        found = list(self.cases)
        for case in self.cases:
            first = case.values()
            later = (replace(case, at=at) for at in LATER)
            found += [each for each in later if each.values() != first]
        return found

    def on(self, student: Sizes, teacher: Sizes, *, twins: bool = False) -> list[Case]:
        """The cases on models of these sizes; `twins`: the student is its teachers.

        Raises:
            UserError: the method refuses them.
            NotApplicable: it has no stage for this kind of task.
        """
        found: list[Case] = []
        own = model(self.kind, student, 1)
        for count in self.teachers:
            teachers = tuple(own if twins else model(self.kind, teacher, 10 + i) for i in range(count))
            models = [each.model for each in teachers]
            made = bind(self.method, self.options, self.kind, own.model, models)
            for stage in self.stages(made):
                refuse_needs(made, stage)
                batch = batch_of(self.kind, self.general(made) if self.kind == "text" else None)
                found.append(Case(self.method, self.options, stage, batch, own, teachers))
        return found

    @property
    def teachers(self) -> tuple[int, ...]:
        """The fewest and the most; two, where there is no bound. On text there is one."""
        least, most = self.method.min_teachers, self.method.max_teachers
        if self.kind == "text":
            if most == 0:
                raise NotApplicable("it has no teacher, so no stage on unlabelled text")
            return (1,)
        return tuple(sorted({least, max(2, least + 1) if most is None else most}))

    def stages(self, made: Method) -> Sequence[Stage]:
        """On the task, or on unlabelled text."""
        return [self.general(made).stage] if self.kind == "text" else made.stages()

    def general(self, made: Method) -> General:
        general = made.general()
        if general is None:
            raise NotApplicable("it has no stage on unlabelled text")
        return general


def batch_of(kind: TaskKind, general: General | None = None) -> Batch:
    """Four examples of ragged lengths; text that is masked if the stage has it so."""
    batch = Batch.from_mapping(tiny_batch(kind, length=9, num_labels=CLASSES, seed=3))
    if general is not None and not general.masking:
        return replace(batch, labels=torch.full_like(batch.labels, NOT_MASKED))
    return batch


def compare(
    case: Case, terms: Mapping[str, float], others: Mapping[str, float], what: str, *, rel: float, least: float
) -> None:
    """Raise `CheckFailed` unless both have the same terms, of the same values: but for `rel` of them, or `least`.

    `what` says where the others come from.
    """
    if terms.keys() != others.keys():
        raise CheckFailed(f"{case}: the terms are {', '.join(terms)}; {what} {', '.join(others) or 'none'}")
    for name, value in terms.items():
        if not math.isclose(value, others[name], rel_tol=rel, abs_tol=least):
            raise CheckFailed(f"{case}: {name} is {value:.6g}; {what} {others[name]:.6g}")


def steady(case: Case, values: Mapping[str, float], *, but: frozenset[str] = frozenset()) -> dict[str, float]:
    """The terms that draw no random numbers, and are not among `but`."""
    return {name: value for name, value in values.items() if name not in case.random | but}


def held(cases: Sequence[Case], hold: Callable[[Case], bool], otherwise: str) -> None:
    """Ask `hold` of every case. Raises `NotApplicable` if it had something to hold in none."""
    if not [case for case in cases if hold(case)]:
        raise NotApplicable(otherwise)
