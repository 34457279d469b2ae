"""Averages, ranks, top groups and suite-level statistics of the rows of a board."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product

from harness.analysis import collapsed_seeds, suite_level, top_groups
from harness.analysis.row_differences import RowDifferences
from harness.analysis.summary import BeatenTeacher, BoardRow, Statistic, is_error
from harness.analysis.top_groups import Comparison
from harness.storage.plan_file import PlanFile, PlannedTask


def average(plan: PlanFile, row: BoardRow) -> Statistic | None:
    """The average score of a row over all tasks but diagnostic ones.

    None if the row is not complete, its tasks have different seeds, or the tasks have no average (`why_no_average`).
    """
    if row.status != "complete" or why_no_average(plan.tasks) or len({sample.seeds for sample in row.samples}) != 1:
        return None
    return Statistic.of_scores(row.samples)


def averaged_tasks(plan: PlanFile) -> list[str]:
    """The names of the tasks of the average: all but diagnostic ones."""
    return [task.name for task in plan.tasks if not task.diagnostic]


def why_no_average(tasks: Sequence[PlannedTask]) -> str:
    """Why scores on the tasks cannot be averaged, as a clause; empty if they can.

    They cannot if lower is better on some and higher on others, or if one that is not diagnostic is scored by an error:
    that has a unit of its own, such as a price, so that the task with the largest numbers would decide.
    """
    lower = [task.name for task in tasks if not task.higher_is_better]
    if 0 < len(lower) < len(tasks):
        return f"lower is better on {', '.join(lower)}, higher on the others"
    averaged = [task for task in tasks if not task.diagnostic]
    errors = [task.name for task in averaged if is_error(task)]
    if errors and len(averaged) > 1:
        return f"the score of {' and of '.join(errors)} is an error, in a unit of its own"
    return ""


def row_differences(rows: Iterable[BoardRow]) -> RowDifferences:
    """The differences of any two rows, on each task and on averages."""
    by_name = {row.name: row for row in rows}
    return RowDifferences(
        scores={
            name: {task: cell.sample for task, cell in row.cells.items() if cell.sample}
            for name, row in by_name.items()
        },
        collapsed={name: [task for task, cell in row.cells.items() if cell.collapsed] for name, row in by_name.items()},
    )


def comparisons(plan: PlanFile, rows: Sequence[BoardRow], differences: RowDifferences) -> list[Comparison]:
    """Compare the averages of all pairs of rows of each student. Rows without an average, or with one seed, are left
    out."""
    pairs: list[Comparison] = []
    for student in plan.students:
        averaged = [row.name for row in rows if row.student == student and row.average]
        if averaged and (family := differences.family(averaged_tasks(plan), averaged[0])):
            pairs += top_groups.compare(family.only(averaged))
    return pairs


def mark_collapsed_seeds(plan: PlanFile, rows: Sequence[BoardRow], constant: BoardRow | None) -> list[BoardRow]:
    """Add the collapsed seeds of each cell to the rows. A cell is compared with those of the same student."""
    marked = list(rows)
    for student, task in product(plan.students, plan.tasks):
        indices = [n for n, row in enumerate(marked) if row.student == student and row.cells[task.name].sample]
        samples = [sample for n in indices if (sample := marked[n].cells[task.name].sample)]
        floor = constant.cells[task.name].score if constant else None
        seeds = collapsed_seeds.find_collapsed(
            samples, floor.mean if floor else None, higher_is_better=task.higher_is_better
        )
        for n, collapsed in zip(indices, seeds, strict=True):
            if collapsed:
                cell = replace(marked[n].cells[task.name], collapsed=collapsed)
                marked[n] = replace(marked[n], cells={**marked[n].cells, task.name: cell})
    return marked


def mark_top_groups(plan: PlanFile, rows: Sequence[BoardRow], comparisons: Sequence[Comparison]) -> list[BoardRow]:
    """Set `Row.top`: whether the row is in the top group of its student."""
    best = best_of(plan, rows)
    top = {
        student: top_groups.top_group(best[student].label, [pair for pair in comparisons if pair.student == student])
        for student in {pair.student for pair in comparisons}
    }
    return [
        replace(row, top=row.label in top[row.student]) if row.student in top and row.average else row for row in rows
    ]


def best_of(plan: PlanFile, rows: Sequence[BoardRow]) -> dict[str, BoardRow]:
    """Student -> the row with the best average, the first one of equals. Students without an average are left out."""
    sign = 1 if plan.tasks[0].higher_is_better else -1
    best: dict[str, tuple[float, BoardRow]] = {}
    for row in rows:
        if row.average and (row.student not in best or sign * row.average.mean > best[row.student][0]):
            best[row.student] = sign * row.average.mean, row
    return {student: row for student, (_, row) in best.items()}


def add_suite_statistics(plan: PlanFile, teachers: Sequence[BoardRow], rows: Sequence[BoardRow]) -> list[BoardRow]:
    """Add the interquartile mean relative to the suite's first teacher, and the gap closed, to the rows."""
    first = next((row for row in teachers if row.average), None)
    if first is None or first.label != next(iter(plan.teachers)):
        return list(rows)
    teacher, baselines = first, labels_without_teacher(plan)
    extended = []
    for row in rows:
        if row.average:
            percent = suite_level.iqm(row.samples, teacher.samples)
            row = replace(row, iqm=Statistic.from_estimate(percent, row.average.n) if percent else None)
            without = next((r for r in rows if r.student == row.student and r.label in baselines and r.average), None)
            if without and without.label != row.label and plan.tasks[0].higher_is_better:
                names = (teacher.label, without.label)
                row = replace(row, gap=suite_level.gap_closed(row.samples, without.samples, teacher.samples, names))
        extended.append(row)
    return extended


def labels_without_teacher(plan: PlanFile) -> set[str]:
    """The labels whose runs have no teacher."""
    return {run.label for run in plan.runs if not run.teachers}


def add_ranks(plan: PlanFile, rows: Sequence[BoardRow]) -> list[BoardRow]:
    """Rank all rows with an average. Averages that are equal as printed share a rank."""
    sign = 1 if plan.tasks[0].higher_is_better else -1
    averages = [sign * row.average.rounded for row in rows if row.average]
    return [
        replace(row, rank=1 + sum(other > sign * row.average.rounded for other in averages)) if row.average else row
        for row in rows
    ]


def sort_rows(plan: PlanFile, rows: Sequence[BoardRow]) -> tuple[BoardRow, ...]:
    """Sort rows by size of the student, largest first, then by rank. Rows without a rank come last."""
    size = {
        name: max((r.parameters[1] for r in rows if r.student == name and r.parameters), default=0)
        for name in plan.students
    }
    return tuple(sorted(rows, key=lambda r: (-size[r.student], plan.students.index(r.student), r.rank or math.inf)))


def lead(score: Statistic, other: Statistic, task: PlannedTask) -> float:
    """By how much `score` is better than `other`, both rounded as on a board; negative if it is worse."""
    difference = score.rounded - other.rounded
    return difference if task.higher_is_better else -difference


def beaten(plan: PlanFile, teachers: Sequence[BoardRow], students: Sequence[BoardRow]) -> Iterable[BeatenTeacher]:
    """Students without a teacher whose printed score is better than that of a teacher."""
    baselines = labels_without_teacher(plan)
    for task, row, teacher in product(plan.tasks, students, teachers):
        score, teacher_score = row.cells[task.name].score, teacher.cells[task.name].score
        if row.label in baselines and score and teacher_score and lead(score, teacher_score, task) > 0:
            yield BeatenTeacher(task.name, row.label, row.student, score, teacher.label, teacher_score)
