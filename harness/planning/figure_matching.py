"""Match published figures to the rows of a suite: the same method and student shape, or the same teacher."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from harness.config.published_figures import Published, PublishedRow, PublishedTable, as_list
from harness.resolution.suite import Resolved
from harness.storage.plan_file import PublishedFigure


def matching_figures(resolved: Resolved) -> list[PublishedFigure]:
    """Return the published figures of each row of the board, teachers first, on the suite's tasks.

    The sources are those that the suite selects. Rows of unknown shape and teachers that are trained as a group have no
    published figures.
    """
    suite = resolved.suite
    sources = suite.published
    tasks = [task.name for task in suite.tasks if not task.synthetic]
    return [
        _figure(source, table, row, task=task, label=label, student=student)
        for label, student, source, table, row in [
            *_teacher_figures(resolved, sources),
            *_student_figures(resolved, sources),
        ]
        for task in tasks
        if task in row.scores
    ]


Found = tuple[str, str, Published, PublishedTable, PublishedRow]
"""Label and student of a row of the board, and the published source, table and row that match it."""


def _teacher_figures(resolved: Resolved, sources: Sequence[Published]) -> Iterator[Found]:
    for name, source in product(resolved.suite.spec.teachers, sources):
        model, shape = resolved.suite.models.get(name), resolved.shapes.get(name)
        if model is not None and shape is not None:
            for table, row in source.figures_of_teacher(model, shape):
                yield name, "", source, table, row


def _student_figures(resolved: Resolved, sources: Sequence[Published]) -> Iterator[Found]:
    for variant in resolved.suite.variants:
        options = variant.config.model_dump(mode="json")
        for student, source in product(variant.students, sources):
            if shape := resolved.shapes.get(student):
                for table, row in source.figures_of(method=variant.method.name, options=options, shape=shape):
                    yield variant.label, student, source, table, row


def _figure(
    published: Published, table: PublishedTable, row: PublishedRow, *, task: str, label: str, student: str
) -> PublishedFigure:
    """Return one task's figure as stored in the plan file. `student` is empty for a teacher."""
    where = f"{table.where}, {table.split}" if table.where else table.split
    return PublishedFigure(
        task=task,
        label=label,
        student=student,
        values=as_list(row.scores[task]),
        metrics=as_list(table.metrics[task]),
        model=row.model,
        teacher=table.teacher if student else None,
        source=published.name,
        title=published.source.title,
        url=published.source.url,
        split=table.split,
        where=where,
    )
