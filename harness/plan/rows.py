"""What the rows and the students of a board stand for, as the store keeps it."""

from __future__ import annotations

from harness.results.records import PlannedRow, Shape
from harness.suite.resolved import MethodVariant, Resolved


def rows(resolved: Resolved) -> dict[str, PlannedRow]:
    """Of each label."""
    teachers = list(resolved.suite.spec.teachers)
    return {variant.label: _row(variant, teachers) for variant in resolved.suite.variants}


def shapes(resolved: Resolved) -> dict[str, Shape]:
    """Of each teacher and student whose shape is known."""
    students = resolved.suite.spec.students
    return {
        name: Shape(
            layers=shape.layers,
            hidden=shape.hidden,
            heads=shape.heads,
            ffn=shape.ffn,
            init=f"{students[name].init} of {students[name].init_from}" if name in students else "",
        )
        for name, shape in resolved.shapes.items()
    }


def _row(variant: MethodVariant, teachers: list[str]) -> PlannedRow:
    """`teachers` are the suite's, of which a method takes the first ones unless its entry names others."""
    options = variant.config.model_dump(mode="json")
    usual = options == variant.method.Config().model_dump(mode="json")
    return PlannedRow(
        method=variant.method.name,
        entry=int(variant.path[1]),
        plain=usual and not variant.stages and list(variant.teachers) == teachers[: variant.method.max_teachers],
        options=options,
        stages={name: stage.model_dump(exclude_none=True) for name, stage in variant.stages.items()},
        teachers=list(variant.teachers),
    )
