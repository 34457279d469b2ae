"""Chooses the students that are compared: fewer layers of the teacher, and narrower ones if parameters are limited."""

from __future__ import annotations

from harness.api.model_outputs import ModelShape

DEPTHS = (1 / 2, 1 / 3, 1 / 6)
"""Shares of the teacher's layers."""

NARROWING = (2, 4, 8)
"""Widths of the teacher per width of a narrower student."""

HEAD_SIZE = 64
"""Hidden units per attention head of a narrower student, where that divides its width."""


def student_sizes(
    teacher: ModelShape, other_parameters: int, max_parameters: int | None
) -> dict[str, dict[str, object]]:
    """Return the students of a suite: name -> its settings.

    Students with the teacher's width copy evenly spaced layers of it, the last one among them. If `max_parameters`
    excludes all of them, students of a half, a quarter and an eighth of its width are added; they start from random
    weights.

    Args:
        teacher: its sizes.
        other_parameters: parameters of the teacher outside of its layers; they grow with the width.
        max_parameters: largest number of parameters; None: no limit.
    """
    depths = _depths(teacher)
    sizes: dict[str, dict[str, object]] = {}
    for layers in depths:
        if _fits(layers, teacher.hidden, teacher, other_parameters, max_parameters):
            sizes[f"{layers}x{teacher.hidden}"] = _copied(layers, teacher)
    if not sizes and max_parameters is not None:
        for hidden in _narrow_widths(teacher):
            for layers in depths[:2]:
                if _fits(layers, hidden, teacher, other_parameters, max_parameters):
                    sizes[f"{layers}x{hidden}"] = _narrow(layers, hidden, teacher)
    return sizes


def fewest_parameters(teacher: ModelShape, other_parameters: int) -> int:
    """The parameters of the smallest student that `student_sizes` can return."""
    return _parameters(min(_depths(teacher)[:2]), min(_narrow_widths(teacher)), teacher, other_parameters)


def _depths(teacher: ModelShape) -> list[int]:
    return sorted({max(1, round(share * teacher.layers)) for share in DEPTHS} - {teacher.layers}, reverse=True) or [1]


def _copied(layers: int, teacher: ModelShape) -> dict[str, object]:
    """`init: uniform`, written out as a list, because `uniform` is for depths that divide the teacher's."""
    chosen = [number * teacher.layers // layers for number in range(1, layers + 1)]
    return {"layers": layers, "init": chosen, "init_from": "teacher"}


def _narrow_widths(teacher: ModelShape) -> list[int]:
    return [max(8, teacher.hidden // divisor) for divisor in NARROWING]


def _narrow(layers: int, hidden: int, teacher: ModelShape) -> dict[str, object]:
    heads = max(1, hidden // HEAD_SIZE) if hidden % HEAD_SIZE == 0 else 1
    return {"layers": layers, "hidden": hidden, "heads": heads, "ffn": hidden * teacher.ffn // teacher.hidden}


def _fits(layers: int, hidden: int, teacher: ModelShape, other: int, limit: int | None) -> bool:
    """Whether a student has at most `limit` parameters."""
    return limit is None or _parameters(layers, hidden, teacher, other) <= limit


def _parameters(layers: int, hidden: int, teacher: ModelShape, other: int) -> int:
    """The parameters of a student. A layer has four square matrices and the two of its FFN."""
    ffn = hidden * teacher.ffn // teacher.hidden
    layer = 4 * hidden * (hidden + 1) + 2 * hidden * ffn + ffn + 5 * hidden
    return layers * layer + other * hidden // teacher.hidden
