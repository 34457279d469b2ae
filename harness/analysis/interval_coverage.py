"""What the intervals and groups of a board cover: seeds and examples, and teachers where each seed has its own."""

from __future__ import annotations

from harness.storage.records import PlanFile


def one_per_seed(plan: PlanFile) -> list[str]:
    """The rows of the teachers that were fine-tuned once per seed."""
    return [name for name, by_task in plan.teachers.items() if any(len(keys) > 1 for keys in by_task.values())]


def shared_teachers(plan: PlanFile) -> list[str]:
    """The rows of the teachers that the runs of all seeds share, of those whose choice has a part in a score: the
    suite's first, and all that a run learns from."""
    taught = (name for run in plan.runs for name in run.teachers)
    several = one_per_seed(plan)
    return [name for name in dict.fromkeys([*list(plan.teachers)[:1], *taught]) if name not in several]


def teacher_condition(plan: PlanFile) -> str:
    """A clause, empty if there is no condition: on which teachers all intervals depend."""
    names = shared_teachers(plan)
    if not names:
        return ""
    if one_per_seed(plan):
        return f", given teacher{'s' * (len(names) > 1)} {' and '.join(names)}"
    return ", given this teacher" if len(names) == 1 else ", given these teachers"


def covers(plan: PlanFile) -> str:
    """What an interval of several seeds is over."""
    over = "seeds, teachers and examples" if one_per_seed(plan) else "seeds and examples"
    return over + teacher_condition(plan)
