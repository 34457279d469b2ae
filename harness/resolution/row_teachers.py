"""Teachers that are rows of the suite (teacher assistants): which student of which row each of them is."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from harness.api.errors import nearest
from harness.config.diagnostics import Diagnostics
from harness.resolution.suite import MethodVariant, RowTeacher

if TYPE_CHECKING:
    from harness.config.schema import SuiteSpec


def find(spec: SuiteSpec, variants: Sequence[MethodVariant], diagnostics: Diagnostics) -> dict[str, RowTeacher]:
    """Return the teachers of the suite that are rows, by name. Rows that do not exist, or cycles, are reported."""
    rows = {variant.label: variant for variant in variants}
    found: dict[str, RowTeacher] = {}
    for name, teacher in spec.teachers.items():
        if teacher.row is None:
            continue
        student = _student(name, teacher.row, teacher.student, rows, diagnostics)
        if student is not None:
            seed = teacher.seed if "seed" in teacher.model_fields_set else None
            if seed is not None and seed not in spec.seeds:
                seeds = ", ".join(map(str, spec.seeds))
                diagnostics.add(
                    ("teachers", name, "seed"),
                    f"row {teacher.row!r} has no run with seed {seed}; the suite's seeds are {seeds}. Without `seed`,"
                    " each run learns from the run of its own seed",
                )
            found[name] = RowTeacher(teacher.row, student, seed)
    _check_cycles(rows, found, diagnostics)
    return found


def _student(
    name: str, label: str, student: str | None, rows: Mapping[str, MethodVariant], diagnostics: Diagnostics
) -> str | None:
    """Return the student of the row that the teacher is, by default its only one; None, and a problem, if there is
    none."""
    if label not in rows:
        diagnostics.add(("teachers", name, "row"), f"unknown row {label!r}; {nearest(label, rows)}")
        return None
    students = rows[label].students
    listed = ", ".join(students)
    if student is None and len(students) > 1:
        diagnostics.add(("teachers", name), f"row {label!r} has several students; set `student` to one of {listed}")
        return None
    if student is not None and student not in students:
        message = f"row {label!r} has no student {student!r}; its students are {listed}"
        diagnostics.add(("teachers", name, "student"), message)
        return None
    return student or students[0]


def _check_cycles(
    rows: Mapping[str, MethodVariant], teachers: Mapping[str, RowTeacher], diagnostics: Diagnostics
) -> None:
    """Report rows that learn from themselves, directly or through other rows. Each cycle is reported once."""
    reported: set[str] = set()
    for label in rows:
        cycle = _cycle(label, rows, teachers, ())
        if cycle and not reported & set(cycle):
            reported.update(cycle)
            chain = " learns from ".join([*cycle, cycle[0]])
            diagnostics.add(
                (*rows[cycle[0]].path, "teachers"), f"a row cannot learn from itself: {chain}; name another teacher"
            )


def _cycle(
    label: str, rows: Mapping[str, MethodVariant], teachers: Mapping[str, RowTeacher], before: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the labels of the first cycle that is reached from a row; empty if there is none."""
    if label in before:
        return before[before.index(label) :]
    for name in rows[label].teachers:
        if name in teachers and (found := _cycle(teachers[name].label, rows, teachers, (*before, label))):
            return found
    return ()


def training_order(variants: Sequence[MethodVariant], teachers: Mapping[str, RowTeacher]) -> list[MethodVariant]:
    """Return the rows in the suite's order, except that a row comes after the rows that it learns from."""
    rows = {variant.label: variant for variant in variants}
    ordered: dict[str, MethodVariant] = {}

    def visit(variant: MethodVariant) -> None:
        if variant.label not in ordered:
            for name in variant.teachers:
                if name in teachers:
                    visit(rows[teachers[name].label])
            ordered[variant.label] = variant

    for variant in variants:
        visit(variant)
    return list(ordered.values())


def learned_from(variants: Sequence[MethodVariant], name: str) -> Collection[str]:
    """Return the labels of the rows that learn from the teacher `name`."""
    return [variant.label for variant in variants if name in variant.teachers]
