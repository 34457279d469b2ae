"""Published figures beside the rows of a board: grouped by cell and by printed model.

They are never ranked and in no average: teacher, data and tuning were their source's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from harness.config.published_figures import NOT_STATED
from harness.storage.records import PublishedFigure

CellKey = tuple[str, str, str]
"""Task, label and student."""

ModelKey = tuple[str, str, str]
"""Source, place in it and model, as printed."""


def by_cell(figures: Iterable[PublishedFigure]) -> dict[CellKey, list[PublishedFigure]]:
    """The figures that stand in each cell that has some."""
    found: dict[CellKey, list[PublishedFigure]] = {}
    for figure in figures:
        found.setdefault((figure.task, figure.label, figure.student), []).append(figure)
    return found


def text(figure: PublishedFigure, score: str) -> str:
    """``71.6``; with its metrics where they are others than `score`, the board's: ``84.6/83.2 m/mm``."""
    numbers = "/".join(map(str, figure.values))
    if figure.metrics == [score]:
        return numbers
    names = ["metric not stated" if name == NOT_STATED else name.removeprefix(f"{score}_") for name in figure.metrics]
    return f"{numbers} {'/'.join(names)}".replace("_", " ")


def model_of(figure: PublishedFigure) -> ModelKey:
    """Which model of which table it is of."""
    return figure.source, figure.where, figure.model


def metrics_of(figures: Iterable[PublishedFigure]) -> dict[ModelKey, dict[str, list[str]]]:
    """Of each printed model: metric -> the tasks that it is printed for."""
    found: dict[ModelKey, dict[str, list[str]]] = {}
    for figure in figures:
        name = "/".join(figure.metrics).replace("_", " ")
        tasks = found.setdefault(model_of(figure), {}).setdefault(name, [])
        if figure.task not in tasks:
            tasks.append(figure.task)
    return found


def note(figure: PublishedFigure, metrics: Mapping[str, Sequence[str]]) -> str:
    """Where a figure and all of its model come from; `metrics` are that model's."""
    named = "; ".join(f"{', '.join(tasks)}: {metric}" for metric, tasks in metrics.items())
    taught, own = (f", taught by {figure.teacher}", "Teacher, data") if figure.teacher else ("", "Data")
    return (
        f"published as {figure.model}{taught}, in {figure.title}, {figure.where} ({figure.url}); {named}. "
        f"{own} and tuning were its own"
    )


def columns(figure: PublishedFigure) -> dict[str, float]:
    """The figure for a table that machines read: ``sst2_published_<source>_<split>_<metric>``."""
    split = re.sub(r"[^a-z0-9.]+", "-", figure.split.lower()).strip("-")
    start = f"{figure.task}_published_{figure.source}_{split}"
    return {f"{start}_{name}": value for name, value in zip(figure.metrics, figure.values, strict=True)}
