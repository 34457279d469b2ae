"""Chooses the students that are compared: fewer layers of the teacher, and narrower ones if parameters are limited."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.api.model_outputs import ModelShape
from harness.config.student_schema import StudentSpec
from harness.models import families

if TYPE_CHECKING:
    from transformers import PretrainedConfig

DEPTHS = (1 / 2, 1 / 3, 1 / 6)
"""Shares of the teacher's layers."""

NARROWING = (2, 4, 8)
"""Widths of the teacher per width of a narrower student."""

HEAD_SIZE = 64
"""Hidden units per attention head of a narrower student, where that divides its width."""

Sizes = dict[str, dict[str, object]]
"""Students of a suite: name -> its settings."""


def student_sizes(teacher: PretrainedConfig, max_parameters: int | None, outputs: int) -> Sizes:
    """Return the students of a suite.

    Students with the teacher's width copy evenly spaced layers of it, the last one among them. If `max_parameters`
    excludes all of them, they are students of a half, a quarter and an eighth of its width, which start from random
    weights.

    Args:
        teacher: its configuration.
        max_parameters: largest number of parameters, those of the head among them; None: no limit.
        outputs: of the head, which the configuration of a teacher without one does not know.
    """
    shape = families.shape(teacher, "the teacher")
    if max_parameters is None:
        return _copies(shape)

    def within(students: Sizes) -> Sizes:
        return {name: size for name, size in students.items() if _parameters(size, teacher, outputs) <= max_parameters}

    return within(_copies(shape)) or within(_narrower(shape))


def fewest_parameters(teacher: PretrainedConfig, outputs: int) -> int:
    """The parameters of the smallest student that `student_sizes` can return."""
    narrower = _narrower(families.shape(teacher, "the teacher"))
    return min(_parameters(student, teacher, outputs) for student in narrower.values())


def _depths(teacher: ModelShape) -> list[int]:
    return sorted({max(1, round(share * teacher.layers)) for share in DEPTHS} - {teacher.layers}, reverse=True) or [1]


def _copies(teacher: ModelShape) -> Sizes:
    return {
        f"{layers}x{teacher.hidden}": {
            "layers": layers,
            "init": _evenly_spaced(layers, teacher.layers),
            "init_from": "teacher",
        }
        for layers in _depths(teacher)
    }


def _evenly_spaced(layers: int, of_teacher: int) -> str | list[int]:
    """The `init` of a student, which is in the keys of its runs: ``uniform`` if the depths allow it, else a list."""
    if of_teacher % layers == 0:
        return "uniform"
    return [number * of_teacher // layers for number in range(1, layers + 1)]


def _narrower(teacher: ModelShape) -> Sizes:
    widths = [max(8, teacher.hidden // divisor) for divisor in NARROWING]
    return {
        f"{layers}x{hidden}": _narrow(layers, hidden, teacher) for hidden in widths for layers in _depths(teacher)[:2]
    }


def _narrow(layers: int, hidden: int, teacher: ModelShape) -> dict[str, object]:
    heads = max(1, hidden // HEAD_SIZE) if hidden % HEAD_SIZE == 0 else 1
    return {"layers": layers, "hidden": hidden, "heads": heads, "ffn": hidden * teacher.ffn // teacher.hidden}


def _parameters(student: Mapping[str, object], teacher: PretrainedConfig, outputs: int) -> int:
    """Counted on the meta device: no weights are allocated."""
    import torch

    from harness.models import heads, students

    config = students.resized_config(StudentSpec.model_validate(student), teacher)
    config.num_labels = outputs
    with torch.device("meta"):
        model = heads.auto_class("classification").from_config(config)
    return sum(parameter.numel() for parameter in model.parameters())
