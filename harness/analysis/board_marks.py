"""Marks in the title of a board: reasons why its scores are limited or not comparable."""

from __future__ import annotations

from collections.abc import Iterator

from harness.analysis import data_notes, selection_notes
from harness.analysis.compatibility import Result
from harness.analysis.score_format import mean
from harness.analysis.summary import Summary
from harness.api.wording import counted


def marks(summary: Summary) -> Iterator[tuple[str, str]]:
    """Yield (mark, explanation) for each limitation of the board, such as ``("PRELIMINARY", "1 seed; ...")``."""
    plan = summary.plan
    if synthetic := [task.name for task in plan.tasks if task.synthetic]:
        text = (
            f"the examples of {', '.join(synthetic)} are generated; scores on them say nothing about natural language"
        )
        yield "SYNTHETIC", text
    if plan.limits:
        limits = ", ".join(f"{split} {number}" for split, number in sorted(plan.limits.items()))
        yield "SUBSET", f"examples are limited ({limits}); do not compare with results on the full data"
    reports = {task.name: task.data for task in plan.tasks if task.data}
    if overlaps := data_notes.overlapping(reports):
        yield "OVERLAP", f"validation texts also occur in the training split: {'; '.join(overlaps)}"
    if unscaled := data_notes.unscaled(reports):
        yield "LABEL SCALE", "; ".join(unscaled)
    if any(_bucketed(result) for result in summary.results):
        yield (
            "BUCKETED",
            "runs or teachers were trained on batches of examples of similar length, which distorts short trainings;"
            " do not compare with results on random batches",
        )
    yield from selection_notes.marks(summary)
    if len(plan.seeds) < 3:
        yield "PRELIMINARY", f"{counted(len(plan.seeds), 'seed')}; a difference between methods needs 3 or more"
    rows = [*summary.teachers, *summary.students]
    if incomplete := sum(row.status == "incomplete" for row in rows):
        yield (
            "INCOMPLETE",
            f"{incomplete} of {counted(len(rows), 'row')} lack results, so they have no rank and no average",
        )
    if summary.beaten:
        cases = (
            f"{b.label} on {b.student} scores {mean(b.score)} on {b.task}, teacher {b.teacher} {mean(b.teacher_score)}"
            for b in summary.beaten
        )
        yield "TEACHER BEATEN", f"a student without a teacher scores better than a teacher: {'; '.join(cases)}"


def _bucketed(result: Result) -> bool:
    """Whether the result was trained with ``batching: bucketed``. Records without the setting predate it and were."""
    training = result.parts.get("training")
    return training is not None and training.get("batching", "bucketed") == "bucketed"


def collapsed(summary: Summary) -> str | None:
    """The legend of the mark for collapsed seeds, with the list of seeds; None if no seed collapsed."""
    cases = [
        f"{row.label} on {row.student}, {name}: seed {' and '.join(map(str, cell.collapsed))}"
        for row in summary.students
        for name, cell in row.cells.items()
        if cell.collapsed
    ]
    if not cases:
        return None
    return (
        f"some seeds collapsed ({'; '.join(cases)}): they score about the same as a constant answer, or far from all "
        "others. The interval is not a 95 % interval (if a quarter of the seeds collapses, it may cover less than "
        "70 %), and the p-values of the row are not valid"
    )
