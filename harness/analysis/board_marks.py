"""Marks of a whole board: what limits its claim."""

from __future__ import annotations

from collections.abc import Iterator

from harness.analysis import data_notes, selection_notes
from harness.analysis.compatibility import Result
from harness.analysis.summary import Summary


def marks(summary: Summary) -> Iterator[tuple[str, str]]:
    """What limits the claim of the whole board."""
    plan = summary.plan
    if synthetic := [task.name for task in plan.tasks if task.synthetic]:
        text = (
            f"the examples of {', '.join(synthetic)} are generated; scores on them say nothing about natural language"
        )
        yield "SYNTHETIC", text
    if plan.limits:
        limits = ", ".join(f"{split} {number}" for split, number in sorted(plan.limits.items()))
        yield "REHEARSAL", f"examples are limited ({limits}); not to be compared with results on the whole data"
    if found := data_notes.overlapping({task.name: task.data for task in plan.tasks if task.data}):
        yield "OVERLAP", f"scored on texts that were trained on: {'; '.join(found)}"
    if any(_bucketed(result) for result in summary.results):
        yield (
            "BUCKETED",
            "runs or teachers were trained on batches of examples of similar length, which distorts short trainings;"
            " not to be compared with results on random batches",
        )
    yield from selection_notes.marks(summary)
    if len(plan.seeds) < 3:
        yield "PRELIMINARY", f"{counted(len(plan.seeds), 'seed')}; a difference between methods needs 3 or more"
    rows = [*summary.teachers, *summary.students]
    if incomplete := sum(row.status == "incomplete" for row in rows):
        yield (
            "INCOMPLETE",
            f"{incomplete} of {counted(len(rows), 'row')} without all results, so without rank and average",
        )
    if summary.beaten:
        cases = (
            f"{b.label} on {b.student} scores {b.score:.1f} on {b.task}, teacher {b.teacher} {b.teacher_score:.1f}"
            for b in summary.beaten
        )
        yield "TEACHER BEATEN", f"a student that has no teacher scores better than one: {'; '.join(cases)}"


def _bucketed(result: Result) -> bool:
    """Whether its batches held examples of similar length, as those of all results did that do not say otherwise."""
    training = result.parts.get("training")
    return training is not None and training.get("batching", "bucketed") == "bucketed"


def collapsed(summary: Summary) -> str | None:
    """What the mark of collapsed seeds means, and which they are."""
    found = [
        f"{row.label} on {row.student}, {name}: seed {' and '.join(map(str, cell.collapsed))}"
        for row in summary.students
        for name, cell in row.cells.items()
        if cell.collapsed
    ]
    if not found:
        return None
    return (
        f"some seeds collapsed ({'; '.join(found)}): they score about as a constant answer, or far from all others. "
        "Their interval is no 95 % interval (where a quarter of the seeds collapses, it may cover less than 70 %), and "
        "the row's p-values do not hold"
    )


def counted(number: int, noun: str) -> str:
    """``1 seed``, ``2 seeds``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
