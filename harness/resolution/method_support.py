"""What a method supports and reads with its default options, found by asking it about made-up models and tasks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import get_args

from harness.api.batch import TaskKind
from harness.api.method import Method, TaskInfo
from harness.api.model_outputs import ModelShape

TEACHER = ModelShape("teacher", layers=12, hidden=768, heads=12, ffn=3072)
"""Sizes of BERT base: the teacher of most papers."""

DEPTHS = range(1, TEACHER.layers + 1)
"""Depths of a student that learns from `TEACHER`."""

FIRST_DEPTHS = (6, 4, 3, 2, TEACHER.layers)
"""Depths to try first. A student of one of them, with the teacher's other sizes, fits most methods."""

KINDS: tuple[TaskKind, ...] = tuple(kind for kind in get_args(TaskKind) if kind != "text")

OUTPUTS = ("logits", "pooled", "embeddings", "hidden", "context", "scores", "queries", "keys", "values")
"""Names of outputs without layers, in the order in which they are listed."""


@dataclass(frozen=True)
class MethodSupport:
    """What a method supports and reads with its default options.

    Attributes:
        kinds: kinds of tasks on which it fits a student of some depth.
        refused: the reason for each other kind.
        depths: depths of a student that it accepts for a teacher of 12 layers.
        equal_widths: it needs a student of the teacher's hidden size.
        equal_heads: it needs a student with the teacher's number of attention heads.
        text_stage: it has a stage on unlabelled text.
        stages: names of its stages, the text stage first.
        student: outputs of the student that a stage reads, without layers.
        teachers: outputs of any teacher, likewise.
        error: why the method could not be asked; other attributes are empty then.
    """

    kinds: tuple[TaskKind, ...] = ()
    refused: Mapping[TaskKind, str] = field(default_factory=dict)
    depths: tuple[int, ...] = ()
    equal_widths: bool = False
    equal_heads: bool = False
    text_stage: bool = False
    stages: tuple[str, ...] = ()
    student: tuple[str, ...] = ()
    teachers: tuple[str, ...] = ()
    error: str = ""


def method_support(method: type[Method]) -> MethodSupport:
    """Ask a method what it supports. An exception of the method becomes the `error`, so that others can be listed."""
    try:
        return _Probe(method).support()
    except Exception as error:
        return MethodSupport(error=f"{type(error).__name__}: {error}")


class _Probe:
    """Asks one method about students of different sizes."""

    def __init__(self, method: type[Method]) -> None:
        self.method = method
        self.options = method.Config()
        most = method.max_teachers
        count = max(method.min_teachers, 1) if most is None else min(max(method.min_teachers, 1), most)
        self.teachers = [TEACHER] * count

    def support(self) -> MethodSupport:
        fitting: dict[TaskKind, ModelShape] = {}
        refused: dict[TaskKind, str] = {}
        for kind in KINDS:
            student, reason = self._fit(kind)
            if student is None:
                refused[kind] = reason
            else:
                fitting[kind] = student
        if not fitting:
            return MethodSupport(refused=refused)
        kind, student = next(iter(fitting.items()))
        bound = self._bind(kind, student)
        general = bound.general()
        stages = [*([general.stage] if general else []), *bound.stages()]
        return MethodSupport(
            kinds=tuple(fitting),
            refused=refused,
            depths=tuple(depth for depth in DEPTHS if self._accepts(kind, replace(student, layers=depth))),
            equal_widths=not self._accepts(kind, _of_width(student, TEACHER.hidden // 2)),
            equal_heads=not self._accepts(kind, replace(student, heads=TEACHER.heads // 2)),
            text_stage=general is not None and bool(self.teachers),
            stages=tuple(stage.name for stage in stages),
            student=_names(stage.needs.student for stage in stages),
            teachers=_names(names for stage in stages for names in stage.needs.teachers),
        )

    def _fit(self, kind: TaskKind) -> tuple[ModelShape | None, str]:
        """A student that fits the method on a kind of task, or None and the reason why the first does not."""
        reasons = []
        for depth in FIRST_DEPTHS:
            student = replace(TEACHER, name="student", layers=depth)
            reason = self._obstacle(kind, student)
            if not reason:
                return student, ""
            reasons.append(reason)
        return None, reasons[0]

    def _accepts(self, kind: TaskKind, student: ModelShape) -> bool:
        return not self._obstacle(kind, student)

    def _obstacle(self, kind: TaskKind, student: ModelShape) -> str:
        bound = self._bind(kind, student)
        return "; ".join(str(problem) for problem in bound.check(bound.task, student, self.teachers))

    def _bind(self, kind: TaskKind, student: ModelShape) -> Method:
        labels = {"regression": 1, "qa": 2}.get(kind, 3)
        task = TaskInfo("the task", kind, labels)
        return self.method(self.options, task=task, student=student, teachers=self.teachers, seed=1)


def _of_width(shape: ModelShape, hidden: int) -> ModelShape:
    return replace(shape, hidden=hidden, ffn=4 * hidden, qkv_width=hidden, context_width=hidden)


def _names(outputs: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """``["hidden[3]", "logits"]`` -> ``("logits", "hidden")``."""
    found = {re.sub(r"\[\d+\]$", "", name) for names in outputs for name in names}
    return tuple(name for name in OUTPUTS if name in found)
