"""The text stages of a row of the board: distillation on unlabelled text, before the task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.api.method import General, Method, TaskInfo
from harness.api.model_outputs import ModelShape
from harness.resolution.suite import MethodVariant
from harness.tasks.text_task import TEXT_TASK

TASK_INFO = TaskInfo(TEXT_TASK.name, TEXT_TASK.kind, TEXT_TASK.num_labels)
"""`TaskInfo` of unlabelled text."""

OPT_OUT = "set `general: false` to skip the text stage"
"""The remedy for a student that cannot be trained in a text stage."""


@dataclass(frozen=True)
class TextStage:
    """A text stage with its student and its teacher."""

    general: General
    student: ModelShape
    teacher: ModelShape


def bind_method(variant: MethodVariant, student: ModelShape, teacher: ModelShape, seed: int) -> Method:
    """Instantiate the method of a row for its text stage."""
    return variant.bind(TASK_INFO, student, [teacher], seed)


def assistant_shape(general: General, student: ModelShape) -> ModelShape:
    """Return the shape of the teacher assistant: the student's, with the sizes that `general.assistant` sets."""
    sizes: dict[str, Any] = dict(general.assistant or {})
    return replace(student, name=f"assistant of {student.name}", **sizes)


def stages(variant: MethodVariant, student: ModelShape, teacher: ModelShape, seed: int) -> Sequence[TextStage]:
    """Return the text stages of a student in order: that of its teacher assistant, if there is one, then its own.

    Empty if the method has no text stage with the options of the row.
    """
    first = bind_method(variant, student, teacher, seed).general()
    if first is None or first.assistant is None:
        return [TextStage(first, student, teacher)] if first else []
    assistant = assistant_shape(first, student)
    pairs = ((assistant, teacher), (student, assistant))
    bound = [(bind_method(variant, *pair, seed).general(), *pair) for pair in pairs]
    return [TextStage(general, *pair) for general, *pair in bound if general]
