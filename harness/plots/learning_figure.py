"""Learning curves, the total loss over steps: a figure per student, a panel per task, a line per method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from harness.analysis.logged_losses import LoggedLosses
from harness.analysis.summary import BoardRow, Summary
from harness.plots.loss_curves import Curve, curve
from harness.plots.plot_style import (
    FAINT,
    WIDTH,
    RowStyle,
    Sheet,
    grid,
    row_style,
    rows_left_out,
    set_log_ticks,
    shorten,
    text_widths,
)
from harness.plots.shown_rows import hidden_note

LEFT, APART = 0.5, 0.5
"""Inches left of the first panel, and between two panels."""

PANEL, ABOVE, BELOW = 1.75, 0.28, 0.4
"""Height of a panel, and of the space above and below it, in inches."""

TYPE, ENTRY, HANDLE = 8, 0.18, 0.65
"""Of the legend: font size in points; height of an entry and width of its handle in inches."""

MAX_LINES, MAX_STUDENTS = 16, 4
"""Maximum number of lines in a panel, and of students with a figure."""

Panels = Mapping[str, Mapping[str, Curve]]
"""Task -> label -> curve."""

Cell = tuple[str, str, str]
"""Task, label and student."""


def sheets(summary: Summary) -> Iterator[Sheet]:
    """Yield a sheet for each student whose runs have logged losses."""
    losses = _losses(summary)
    students = [name for name in summary.plan.students if any(_curves(summary, name, losses))]
    hidden = hidden_note(MAX_STUDENTS, len(students), "students", "the first students of the suite")
    for number, student in enumerate(students[:MAX_STUDENTS], start=1):
        panels: dict[str, dict[str, Curve]] = {}
        for task, label, averaged in _curves(summary, student, losses):
            panels.setdefault(task, {})[label] = averaged
        yield _sheet(summary, "learning" if number == 1 else f"learning-{number}", student, panels, hidden)


def _losses(summary: Summary) -> Mapping[Cell, list[LoggedLosses]]:
    """Return the losses of the planned runs that are completed, by cell, seed by seed."""
    completed = {result.key for result in summary.results}
    losses: dict[Cell, list[LoggedLosses]] = {}
    for run in summary.plan.runs:
        if run.key in completed:
            losses.setdefault((run.task, run.label, run.student), []).append(summary.losses[run.key])
    return losses


def _curves(
    summary: Summary, student: str, losses: Mapping[Cell, list[LoggedLosses]]
) -> Iterator[tuple[str, str, Curve]]:
    """Yield (task, label, curve) of complete cells only, so that every curve covers all seeds."""
    rows = [row for row in summary.students if row.student == student]
    for task, row in product(summary.plan.tasks, rows):
        is_complete = row.cells[task.name].state not in ("missing", "failed")
        if is_complete and (averaged := curve(losses.get((task.name, row.label, student), []))):
            yield task.name, row.label, averaged


def _sheet(summary: Summary, name: str, student: str, panels: Panels, hidden: str) -> Sheet:
    rows = [row for row in summary.students if row.student == student]
    with_curves = [row for row in rows if any(row.label in curves for curves in panels.values())]
    shown = with_curves[:MAX_LINES]
    hidden = hidden_note(len(shown), len(with_curves), which="the best rows") + hidden
    across, down = grid(len(panels))
    panel = ABOVE + PANEL + BELOW
    columns = max(1, int((WIDTH - LEFT) / (max(text_widths([shorten(row.label) for row in shown], TYPE)) + HANDLE)))
    lines = -(-len(shown) // columns)
    sheet = Sheet(
        summary,
        name,
        f"training loss of {student}",
        _caption(summary, rows, panels) + hidden,
        down * panel + ENTRY * lines,
    )
    width = (WIDTH - LEFT + APART - 0.15) / across
    for index, (task, curves) in enumerate(panels.items()):
        axes = sheet.axes(LEFT + index % across * width, index // across * panel + ABOVE, width - APART, PANEL)
        _panel(axes, task, [(row_style(row, summary), curves[row.label]) for row in shown if row.label in curves])
    _legend(sheet, summary, shown, columns, down * panel)
    return sheet


def _caption(summary: Summary, rows: Sequence[BoardRow], panels: Panels) -> str:
    several = len(summary.plan.seeds) > 1
    seeds = ", the mean over the seeds; shaded: the range over the seeds" if several else " of the only seed"
    text = (
        f"The weighted total loss{seeds}. "
        "Each method, and each of its stages (separated by a gap), minimises a different loss, so a lower line does "
        "not show a better method."
    )
    absent = {row.label: [task for task, curves in panels.items() if row.label not in curves] for row in rows}
    return text + rows_left_out([(row, f"on {', '.join(absent[row.label])}") for row in rows if absent[row.label]])


def _panel(axes: Axes, task: str, curves: Sequence[tuple[RowStyle, Curve]]) -> None:
    axes.set_title(task, fontsize=8.5, loc="left", weight="bold")
    axes.grid(color=FAINT, linewidth=0.6)
    axes.tick_params(labelsize=7.5)
    axes.set_xlabel("step", fontsize=7.5, labelpad=2)
    _draw_ranges(axes, curves)
    for style, line in curves:
        for stage in line.stages:
            every = max(1, len(stage.steps) // 4)
            axes.plot(stage.steps, stage.mean, style.line, linewidth=1.2, markevery=every, **_small_marker(style))
    if all(line.positive for _, line in curves):
        axes.set_yscale("log")
        set_log_ticks(axes.yaxis, axes.get_ylim())
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))


def _draw_ranges(axes: Axes, curves: Sequence[tuple[RowStyle, Curve]]) -> None:
    """Shade the ranges over the seeds. One artist for all without gaps, because artists take most of the time."""
    shapes, colours = [], []
    for style, line in curves:
        for stage in line.stages:
            low, high = stage.losses.min(axis=0), stage.losses.max(axis=0)
            if len(stage.losses) > 1 and np.isfinite([low, high]).all():
                steps = np.concatenate([stage.steps, stage.steps[::-1]])
                shapes.append(np.stack([steps, np.concatenate([low, high[::-1]])], axis=1))
                colours.append(style.colour)
            elif len(stage.losses) > 1:
                axes.fill_between(stage.steps, low, high, color=style.colour, linewidth=0, alpha=0.15)
    if shapes:
        axes.add_collection(PolyCollection(shapes, facecolors=colours, linewidths=0, alpha=0.15))


def _small_marker(style: RowStyle) -> dict[str, Any]:
    return {**style.dot, "markersize": 4, "markeredgewidth": 0}


def _legend(sheet: Sheet, summary: Summary, rows: Sequence[BoardRow], columns: int, top: float) -> None:
    """Draw the legend `top` inches down, ordered to read row by row although matplotlib fills column by column."""
    rows = [row for column in range(columns) for row in rows[column::columns]]
    styles = [row_style(row, summary) for row in rows]
    sheet.figure.legend(
        [Line2D([], [], linestyle=style.line, linewidth=1.2, **_small_marker(style)) for style in styles],
        [shorten(row.label) for row in rows],
        loc="upper left",
        bbox_to_anchor=(LEFT / WIDTH, 1 - (sheet.top + top) / sheet.height),
        ncols=columns,
        fontsize=TYPE,
        handlelength=3,
        frameon=False,
        borderaxespad=0,
        borderpad=0,
        labelspacing=ENTRY * 72 / TYPE - 1,
    )
