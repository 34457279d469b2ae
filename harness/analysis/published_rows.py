"""Published figures next to the rows of a board, grouped by cell and by printed model.

They are never ranked or averaged, because teacher, data and tuning differ from those of the suite.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from harness.config.published_figures import NOT_STATED
from harness.storage.plan_file import PublishedFigure

CellKey = tuple[str, str, str]
"""Task, label and student."""

ModelKey = tuple[str, str, str]
"""Source, table or page in it, and model, as printed."""


def by_cell(figures: Iterable[PublishedFigure]) -> dict[CellKey, list[PublishedFigure]]:
    """Group figures by the cell of the board that they belong to."""
    cells: dict[CellKey, list[PublishedFigure]] = {}
    for figure in figures:
        cells.setdefault((figure.task, figure.label, figure.student), []).append(figure)
    return cells


def text(figure: PublishedFigure, score: str) -> str:
    """``71.6``, or ``84.6/83.2 m/mm`` with the names of its metrics if they differ from the board's metric `score`."""
    numbers = "/".join(map(str, figure.values))
    if figure.metrics == [score]:
        return numbers
    names = ["metric not stated" if name == NOT_STATED else name.removeprefix(f"{score}_") for name in figure.metrics]
    return f"{numbers} {'/'.join(names)}".replace("_", " ")


def model_of(figure: PublishedFigure) -> ModelKey:
    """The printed model that a figure belongs to."""
    return figure.source, figure.where, figure.model


def metrics_of(figures: Iterable[PublishedFigure]) -> dict[ModelKey, dict[str, list[str]]]:
    """Printed model -> metric -> the tasks for which it is printed."""
    metrics: dict[ModelKey, dict[str, list[str]]] = {}
    for figure in figures:
        name = "/".join(figure.metrics).replace("_", " ")
        tasks = metrics.setdefault(model_of(figure), {}).setdefault(name, [])
        if figure.task not in tasks:
            tasks.append(figure.task)
    return metrics


def note(figure: PublishedFigure, metrics: Mapping[str, Sequence[str]]) -> str:
    """The source of all figures of a printed model. `metrics`: its entry of `metrics_of`."""
    named = "; ".join(f"{', '.join(tasks)}: {metric}" for metric, tasks in metrics.items())
    teacher, differs = (f", distilled from {figure.teacher}", "Teacher, data") if figure.teacher else ("", "Data")
    return (
        f"published as {figure.model}{teacher}, in {figure.title}, {figure.where} ({figure.url}); {named}. "
        f"{differs} and tuning differ from those of this suite"
    )


def columns(figure: PublishedFigure) -> dict[str, float]:
    """The figure as CSV columns, named ``sst2_published_<source>_<split>_<metric>``."""
    split = re.sub(r"[^a-z0-9.]+", "-", figure.split.lower()).strip("-")
    start = f"{figure.task}_published_{figure.source}_{split}"
    return {f"{start}_{name}": value for name, value in zip(figure.metrics, figure.values, strict=True)}
