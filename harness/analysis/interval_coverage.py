"""States what the intervals and groups of a board cover: seeds and examples, and teachers if each seed has its own."""

from __future__ import annotations

from collections.abc import Iterator

from harness.analysis.summary import Summary
from harness.storage.plan_file import PlanFile


def one_per_seed(plan: PlanFile) -> list[str]:
    """Names of the teachers that were fine-tuned once per seed."""
    return [name for name, by_task in plan.teachers.items() if any(len(keys) > 1 for keys in by_task.values())]


def shared_teachers(plan: PlanFile) -> list[str]:
    """Names of the teachers that the runs of all seeds share.

    Includes only teachers that affect a score: the first of the suite, and those with which a run is trained. A teacher
    that is a row of the board is shared if all runs learn from that of one seed.
    """
    used = (name for run in plan.runs for name in run.teachers)
    per_seed = [*one_per_seed(plan), *(name for name, row in plan.assistants.items() if row.seed is None)]
    return [name for name in dict.fromkeys([*list(plan.teachers)[:1], *used]) if name not in per_seed]


def teacher_condition(plan: PlanFile) -> str:
    """``, given this teacher``: the clause on which teachers all intervals are conditional; empty if on none."""
    names = shared_teachers(plan)
    if not names:
        return ""
    if one_per_seed(plan) or plan.assistants:
        return f", given teacher{'s' * (len(names) > 1)} {' and '.join(names)}"
    return ", given this teacher" if len(names) == 1 else ", given these teachers"


def covers(plan: PlanFile, *, examples: bool = True) -> str:
    """``seeds and examples, given this teacher``: what an interval of several seeds covers.

    Args:
        examples: whether scores were recomputed on resampled examples.
    """
    parts = ["seeds", *(["teachers"] if one_per_seed(plan) else []), *(["examples"] if examples else [])]
    *first, last = parts
    return " and ".join(filter(None, [", ".join(first), last])) + teacher_condition(plan)


def seeds_only(summary: Summary) -> Iterator[str]:
    """Name the rows and tasks whose examples could not be resampled."""
    tasks_by_reason: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for unsampled in summary.unsampled:
        tasks_by_reason.setdefault((unsampled.reason, unsampled.rows), []).append(unsampled.task)
    for (reason, rows), tasks in tasks_by_reason.items():
        names = f"{', '.join(rows[:3])}{' and others' * (len(rows) > 3)}"
        of = f" of the row{'s' * (len(rows) > 1)} {names}" if rows else ""
        yield f"Intervals{of} on {', '.join(tasks)} cover seeds only, not examples: {reason}."


def exceptions(summary: Summary) -> Iterator[str]:
    """Yield a sentence for each kind of interval that covers less than `covers` says, if there are several seeds."""
    if len(summary.plan.seeds) > 1:
        yield from seeds_only(summary)
        one_seed = [row for row in summary.teachers if row.label not in one_per_seed(summary.plan)]
        if any(cell.score and cell.score.over == "examples" for row in one_seed for cell in row.cells.values()):
            yield "A teacher with one seed: examples only."
