"""Forest plot: the score of every row on every task with its interval, one panel for each task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from harness.analysis import board_marks
from harness.analysis.interval_coverage import covers, exceptions, teacher_condition
from harness.analysis.summary import BoardRow, Statistic, Summary
from harness.plots.plot_style import (
    FAINT,
    GREY,
    INK,
    TEACHER,
    WIDTH,
    RowStyle,
    Sheet,
    draw_points,
    grid,
    row_style,
    rows_left_out,
    shorten,
    text_widths,
)
from harness.plots.shown_rows import best_rows, hidden_note
from harness.storage.plan_file import PlannedTask

LINE = 0.17
"""Height of a row in inches."""

TITLE, TICKS = 0.28, 0.35
"""Space above and below a panel's rows in inches."""

MAX_ROWS = 60
"""Maximum number of students' rows."""

Slot = BoardRow | str
"""A row, or the name of the group that follows."""


def sheets(summary: Summary) -> Iterator[Sheet]:
    """Yield one sheet if there are any scores."""
    scored = [row for row in summary.students if any(cell.score for cell in row.cells.values())]
    teachers = [row for row in summary.teachers if any(cell.score for cell in row.cells.values())]
    rows = [*teachers, *best_rows(scored, MAX_ROWS)]
    tasks = [task for task in summary.plan.tasks if any(row.cells[task.name].score for row in rows)]
    if tasks:
        yield _sheet(summary, tasks, rows, hidden_note(len(rows), len(teachers) + len(scored)))


def _sheet(summary: Summary, tasks: Sequence[PlannedTask], rows: Sequence[BoardRow], hidden: str) -> Sheet:
    slots = list(_slots(rows))
    height = LINE * len(slots)
    across, down = grid(len(tasks))
    sheet = Sheet(
        summary,
        "tasks",
        "scores by task" + ", with 95 % intervals" * any(map(_has_interval, rows)),
        _caption(summary, tasks, rows) + hidden,
        down * (TITLE + height + TICKS),
    )
    left = 0.25 + max(text_widths((_name(slot) for slot in slots), 8))
    width = (WIDTH - left - 0.1) / across
    for index, task in enumerate(tasks):
        corner = left + index % across * width, index // across * (TITLE + height + TICKS) + TITLE
        axes = sheet.axes(*corner, width - 0.15, height)
        _panel(axes, summary, task, slots, named=index % across == 0)
    return sheet


def _caption(summary: Summary, tasks: Sequence[PlannedTask], rows: Sequence[BoardRow]) -> str:
    seeds = len(summary.plan.seeds)
    parts = [f"Means over {seeds} seed{'s' * (seeds > 1)}; rows in the board's order."]
    if summary.teachers:
        first = summary.teachers[0]
        parts.append(f"Dashed: teacher {first.label}{'; shaded: its interval' * _has_interval(first)}.")
    if any(map(_has_interval, rows)):
        over = covers(summary.plan) if seeds > 1 else f"the examples only{teacher_condition(summary.plan)}"
        parts += [f"Intervals over {over}.", *exceptions(summary)]
    if lower := [task.name for task in tasks if not task.higher_is_better]:
        parts.append(f"Lower is better on {', '.join(lower)}.")
    if text := board_marks.collapsed(summary):
        parts.append(f"Collapsed: {text}.")
    incomplete = [
        (row, ", ".join(f"{name}: {cell.state}" for name, cell in row.cells.items() if not cell.score))
        for row in (*summary.teachers, *summary.students)
        if any(not row.cells[task.name].score for task in tasks)
    ]
    return " ".join(parts) + rows_left_out(incomplete)


def _has_interval(row: BoardRow) -> bool:
    return any(cell.score is not None and cell.score.margin is not None for cell in row.cells.values())


def _slots(rows: Sequence[BoardRow]) -> Iterator[Slot]:
    """Yield the teachers, then the rows of each student, each group after its name."""
    for name, members in groupby(rows, key=lambda row: row.student):
        yield name or "teachers"
        yield from members


def _name(slot: Slot) -> str:
    return slot if isinstance(slot, str) else shorten(slot.label)


def _panel(axes: Axes, summary: Summary, task: PlannedTask, slots: Sequence[Slot], *, named: bool) -> None:
    axes.set_ylim(len(slots) - 0.5, -0.5)
    axes.set_title(f"{task.name} ({task.score.replace('_', ' ')})", fontsize=8.5, loc="left", weight="bold")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=7.5)
    if named:
        _name_rows(axes, slots)
    else:
        axes.set_yticks([])
    rows = [y for y, slot in enumerate(slots) if not isinstance(slot, str)]
    axes.hlines(rows, 0, 1, transform=axes.get_yaxis_transform(), color=FAINT, linewidth=0.5, zorder=0)
    _teacher_line(axes, summary, task)
    _draw_scores(
        axes,
        summary,
        [(y, slot, slot.cells[task.name].score) for y, slot in enumerate(slots) if not isinstance(slot, str)],
    )


def _name_rows(axes: Axes, slots: Sequence[Slot]) -> None:
    axes.set_yticks(range(len(slots)), [_name(slot) for slot in slots], fontsize=8)
    for slot, text in zip(slots, axes.get_yticklabels(), strict=True):
        text.set_color(INK)
        text.set_fontweight("bold" if isinstance(slot, str) else "normal")


def _teacher_line(axes: Axes, summary: Summary, task: PlannedTask) -> None:
    score = summary.teachers[0].cells[task.name].score if summary.teachers else None
    if score is not None:
        axes.axvline(score.mean, color=TEACHER, linestyle="--", linewidth=0.8, zorder=1)
        if score.low is not None and score.high is not None:
            axes.axvspan(score.low, score.high, color=GREY, alpha=0.12, linewidth=0, zorder=0)


def _draw_scores(axes: Axes, summary: Summary, rows: Sequence[tuple[int, BoardRow, Statistic | None]]) -> None:
    """Draw means and intervals at their heights. One artist for many rows, because artists take most of the time."""
    bars = [
        (y, score.low, score.high, row_style(row, summary).colour)
        for y, row, score in rows
        if score and score.low is not None and score.high is not None
    ]
    if bars:
        ys, lows, highs, colours = zip(*bars, strict=True)
        axes.hlines(ys, lows, highs, colors=colours, linewidth=1.4, capstyle="butt", zorder=3)
    by_style: dict[RowStyle, list[tuple[float, int]]] = {}
    for y, row, score in rows:
        if score is not None:
            by_style.setdefault(row_style(row, summary), []).append((score.mean, y))
    draw_points(axes, by_style)
