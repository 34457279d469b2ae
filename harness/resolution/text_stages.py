"""The stages on unlabelled text that a row of the board begins with, as its method tells them before any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.api.method import General, Method, TaskInfo
from harness.api.model_outputs import ModelShape
from harness.resolution.suite import MethodVariant
from harness.tasks.corpus import TEXT

TASK_INFO = TaskInfo(TEXT.name, TEXT.kind, TEXT.num_labels)
"""What methods are told of unlabelled text."""

OPT_OUT = "`general: false` goes on without its stage on text"
"""The remedy for a student that cannot begin with one."""


@dataclass(frozen=True)
class TextStage:
    """One such stage: who learns in it, and from whom."""

    general: General
    student: ModelShape
    teacher: ModelShape


def bind_method(variant: MethodVariant, student: ModelShape, teacher: ModelShape, seed: int) -> Method:
    """The row's method, bound for its stage on text."""
    return variant.method(variant.config, task=TASK_INFO, student=student, teachers=[teacher], seed=seed)


def assistant_shape(general: General, student: ModelShape) -> ModelShape:
    """Whom the teacher teaches first, where `general` has an assistant."""
    sizes: dict[str, Any] = dict(general.assistant or {})
    return replace(student, name=f"assistant of {student.name}", **sizes)


def stages(variant: MethodVariant, student: ModelShape, teacher: ModelShape, seed: int) -> Sequence[TextStage]:
    """Those that the student begins with, an assistant's before its own; none, if the method has none with the row's
    options."""
    first = bind_method(variant, student, teacher, seed).general()
    if first is None or first.assistant is None:
        return [TextStage(first, student, teacher)] if first else []
    between = assistant_shape(first, student)
    found = [(bind_method(variant, *pair, seed).general(), *pair) for pair in ((between, teacher), (student, between))]
    return [TextStage(general, *pair) for general, *pair in found if general]
