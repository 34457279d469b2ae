"""How rows stand to each other: averages, ranks, groups, and what they come to beside teacher and student alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from harness.analysis import collapsed_seeds, suite_level, top_groups
from harness.analysis.inference import estimate
from harness.analysis.summary import BeatenTeacher, Row, Statistic
from harness.analysis.top_groups import Comparison
from harness.storage.records import PlanFile, PlannedTask


def average(plan: PlanFile, row: Row) -> Statistic | None:
    """Over tasks, without the diagnostic ones. None where a cell is not complete, or less is better for some tasks."""
    if row.status != "complete" or not _comparable(plan) or len({sample.seeds for sample in row.samples}) != 1:
        return None
    if len(row.samples) == 1:
        return Statistic.on_task(row.samples[0])
    return Statistic.from_values(np.mean([sample.values for sample in row.samples], axis=0), estimate(row.samples))


def comparisons(plan: PlanFile, rows: Sequence[Row]) -> list[Comparison]:
    """Of the averages of all rows of one student that have one."""
    found: list[Comparison] = []
    for student in plan.students:
        ranked = [row for row in rows if row.student == student and row.average]
        collapsed = {row.label for row in ranked if row.collapsed}
        found += top_groups.compare(student, {row.label: row.samples for row in ranked}, collapsed)
    return found


def mark_collapsed_seeds(plan: PlanFile, rows: Sequence[Row], constant: Row | None) -> list[Row]:
    """The students' rows, with the seeds that collapsed on each task, judged among the rows of the same student."""
    found = list(rows)
    for student, task in product(plan.students, plan.tasks):
        places = [n for n, row in enumerate(found) if row.student == student and row.cells[task.name].sample]
        samples = [sample for n in places if (sample := found[n].cells[task.name].sample)]
        floor = constant.cells[task.name].score if constant else None
        seeds = collapsed_seeds.find_collapsed(
            samples, floor.mean if floor else None, higher_is_better=task.higher_is_better
        )
        for n, out in zip(places, seeds, strict=True):
            cells = {**found[n].cells, task.name: replace(found[n].cells[task.name], collapsed=out)}
            found[n] = replace(found[n], cells=cells) if out else found[n]
    return found


def mark_top_groups(plan: PlanFile, rows: Sequence[Row], comparisons: Sequence[Comparison]) -> list[Row]:
    """The rows, each with whether it is in the top group of its student."""
    best = best_of(plan, rows)
    top = {
        student: top_groups.top_group(best[student].label, [each for each in comparisons if each.student == student])
        for student in {each.student for each in comparisons}
    }
    return [
        replace(row, top=row.label in top[row.student]) if row.student in top and row.average else row for row in rows
    ]


def best_of(plan: PlanFile, rows: Sequence[Row]) -> dict[str, Row]:
    """Student -> the row with its best average; of equal ones the first. A student without an average has none."""
    sign = 1 if plan.tasks[0].higher_is_better else -1
    best: dict[str, tuple[float, Row]] = {}
    for row in rows:
        if row.average and (row.student not in best or sign * row.average.mean > best[row.student][0]):
            best[row.student] = sign * row.average.mean, row
    return {student: row for student, (_, row) in best.items()}


def add_suite_statistics(plan: PlanFile, teachers: Sequence[Row], rows: Sequence[Row]) -> list[Row]:
    """The rows with what they come to beside the first teacher, and a student without one."""
    first = next((row for row in teachers if row.average), None)
    if first is None or first.label != next(iter(plan.teachers)):
        return list(rows)
    teacher, untaught = first, labels_without_teacher(plan)
    found = []
    for row in rows:
        if row.average:
            percent = suite_level.iqm(row.samples, teacher.samples)
            row = replace(row, iqm=Statistic.from_estimate(percent, row.average.n) if percent else None)
            without = next((r for r in rows if r.student == row.student and r.label in untaught and r.average), None)
            if without and without.label != row.label and plan.tasks[0].higher_is_better:
                names = (teacher.label, without.label)
                row = replace(row, gap=suite_level.gap_closed(row.samples, without.samples, teacher.samples, names))
        found.append(row)
    return found


def labels_without_teacher(plan: PlanFile) -> set[str]:
    """The labels whose students have no teacher."""
    return {run.label for run in plan.runs if not run.teachers}


def _comparable(plan: PlanFile) -> bool:
    return len({task.higher_is_better for task in plan.tasks}) == 1


def add_ranks(plan: PlanFile, rows: Sequence[Row]) -> list[Row]:
    """Ranks over all students. Averages that print the same share one."""
    sign = 1 if plan.tasks[0].higher_is_better else -1
    averages = [sign * round(row.average.mean, 1) for row in rows if row.average]
    return [
        replace(row, rank=1 + sum(other > sign * round(row.average.mean, 1) for other in averages))
        if row.average
        else row
        for row in rows
    ]


def sort_rows(plan: PlanFile, rows: Sequence[Row]) -> tuple[Row, ...]:
    """The largest student first, then by rank; rows without one follow in the suite's order."""
    size = {
        name: max((r.parameters[1] for r in rows if r.student == name and r.parameters), default=0)
        for name in plan.students
    }
    return tuple(sorted(rows, key=lambda r: (-size[r.student], plan.students.index(r.student), r.rank or math.inf)))


def lead(score: Statistic, other: Statistic, task: PlannedTask) -> float:
    """By how much a score is better than another, both as a board prints them; negative if it is worse."""
    difference = round(score.mean, 1) - round(other.mean, 1)
    return difference if task.higher_is_better else -difference


def beaten(plan: PlanFile, teachers: Sequence[Row], students: Sequence[Row]) -> Iterable[BeatenTeacher]:
    """Where the printed scores say so."""
    without = labels_without_teacher(plan)
    for task, row, teacher in product(plan.tasks, students, teachers):
        score, against = row.cells[task.name].score, teacher.cells[task.name].score
        if row.label in without and score and against and lead(score, against, task) > 0:
            yield BeatenTeacher(task.name, row.label, row.student, score.mean, teacher.label, against.mean)
