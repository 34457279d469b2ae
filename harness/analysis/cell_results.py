"""Which results belong to which row of a board."""

from __future__ import annotations

from harness.storage.plan_file import PlanFile

RowName = tuple[str, str, str]
"""Role, label and student: identifies a row."""


def keys_by_cell(plan: PlanFile) -> dict[tuple[RowName, str], list[tuple[str, int | None]]]:
    """Return (row, task) -> (key, seed) of each planned result of the cell, in ascending order of seeds.

    A teacher's seed is that of the runs that learn from it; None if all runs do.
    """
    cells: dict[tuple[RowName, str], list[tuple[str, int | None]]] = {}
    for label, by_task in plan.teachers.items():
        for task in by_task:
            by_seed = plan.teacher_keys(label, task)
            cells[("teacher", label, ""), task] = [(teacher_key, seed) for seed, teacher_key in by_seed.items()]
    for run in sorted(plan.runs, key=lambda run: run.seed):
        cells.setdefault((("student", run.label, run.student), run.task), []).append((run.key, run.seed))
    return cells
