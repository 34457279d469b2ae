"""Pareto plot: the average score of each row against its cost, and the Pareto front."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from matplotlib.axes import Axes

from harness.analysis import pareto_front
from harness.analysis.interval_coverage import teacher_condition
from harness.analysis.score_format import score
from harness.analysis.summary import BoardRow, Statistic, Summary
from harness.plots.cost_axis import CostAxis, Interval, costs, strips, strips_note
from harness.plots.label_placement import PlacedPoint, label_columns, place_points, spread_labels
from harness.plots.plot_style import (
    FAINT,
    GREY,
    INK,
    WIDTH,
    RowStyle,
    Sheet,
    draw_points,
    row_style,
    rows_left_out,
    set_log_ticks,
    shorten,
    text_widths,
)
from harness.plots.shown_rows import best_rows, hidden_note

MAX_POINTS = 60
"""Maximum number of students' points, without those of the front."""

LEFT, BOTTOM = 0.65, 0.45
BREADTH = WIDTH - LEFT - 0.15
"""Width of the axes in inches."""

TYPE = 8.0
"""Font size of labels in points."""

APART = 0.16
"""Minimum distance between the centres of two labels in inches."""


@dataclass(frozen=True)
class Point:
    """A row with an average score and a cost."""

    label: str
    cost: Interval
    score: Statistic
    style: RowStyle
    row: BoardRow | None = None


@dataclass(frozen=True)
class Scatter:
    """All points of a plot, the best score first."""

    points: Sequence[Point]
    cost: CostAxis
    higher_is_better: bool

    @cached_property
    def front(self) -> list[Point]:
        """The Pareto front, the cheapest point first."""
        return pareto_front.front(
            self.points, lambda point: self.cost.loss(point.cost, point.score, self.higher_is_better)
        )


def sheets(summary: Summary) -> Iterator[Sheet]:
    """Yield a sheet for each machine with speed-ups; without any, one against the number of parameters."""
    drawn = 0
    for cost in costs(summary):
        scatter, out = _scatter(summary, cost)
        if scatter.points:
            drawn += 1
            name = "pareto" if drawn == 1 else f"pareto-{drawn}"
            shown = _shown(scatter)
            hidden = hidden_note(
                len(shown.points), len(scatter.points), which="the front and the best rows of each student"
            )
            yield _sheet(summary, name, _caption(summary, scatter) + rows_left_out(out) + hidden, shown)


def _shown(scatter: Scatter) -> Scatter:
    """Leave out points if there are too many for their labels, but none of the front."""
    students = [point.row for point in scatter.points if point.row and point.row.role == "student"]
    front, chosen = scatter.front, {id(row) for row in best_rows(students, MAX_POINTS)}
    kept = [p for p in scatter.points if id(p.row) in chosen or p in front or (p.row and p.row.role == "teacher")]
    return Scatter(kept, scatter.cost, scatter.higher_is_better)


def _scatter(summary: Summary, cost: CostAxis) -> tuple[Scatter, list[tuple[BoardRow, str]]]:
    """Return the plot's points, and the rows that are not shown, each with the reason."""
    points: list[Point] = []
    out: list[tuple[BoardRow, str]] = []
    for row in (*summary.teachers, *summary.students):
        x = cost.of(row)
        if row.average and x:
            student = f" ({row.student})" if row.student and len(summary.plan.students) > 1 else ""
            label = f"{shorten(row.label)}{student}  {score(row.average)}"
            points.append(Point(label, x, row.average, row_style(row, summary), row))
        else:
            unknown = "no average" if row.status == "complete" else row.status
            out.append((row, cost.lacking if row.average else unknown))
    better = summary.plan.tasks[0].higher_is_better
    points.sort(key=lambda point: point.score.mean, reverse=better)
    return Scatter(points, cost, better), out


def _caption(summary: Summary, scatter: Scatter) -> str:
    known = any(point.score.margin is not None for point in scatter.points)
    brackets = " or brackets," * any(point.score.skewed for point in scatter.points)
    parts = [
        f"±{brackets} and bars (of the front): 95 % intervals{teacher_condition(summary.plan)}."
        if known
        else "There are no intervals: one seed is not enough.",
        f"Dashed, with bold labels: the Pareto front; no other row is {scatter.cost.better} without a worse score.",
        strips_note(scatter.cost, (point.cost for point in scatter.points)),
        "Stars: teachers.",
    ]
    return " ".join(filter(None, parts))


def _sheet(summary: Summary, name: str, caption: str, scatter: Scatter) -> Sheet:
    body = max(4.0, APART * (len(scatter.points) + 2) + BOTTOM)
    sheet = Sheet(summary, name, scatter.cost.title, caption, body)
    axes = sheet.axes(LEFT, 0.0, BREADTH, body - BOTTOM)
    lengths = [
        1.12 * width for width in text_widths((point.label for point in scatter.points), TYPE)
    ]  # bold type is wider
    limits, placed = place_points([point.cost for point in scatter.points], BREADTH, max(lengths))
    axes.set(xscale="log", xlim=[10**limit for limit in limits], ylim=_heights(scatter.points))
    axes.set_xlabel(scatter.cost.axis)
    axes.set_ylabel("average score")
    axes.grid(color=FAINT, linewidth=0.6)
    set_log_ticks(axes.xaxis, axes.get_xlim(), scatter.cost.unit)
    _draw_front(axes, scatter)
    _draw_points(axes, scatter)
    _draw_labels(axes, scatter, placed, lengths)
    return sheet


def _heights(points: Sequence[Point]) -> tuple[float, float]:
    """Return limits that cover all intervals with a margin."""
    low = min(point.score.mean if point.score.low is None else point.score.low for point in points)
    high = max(point.score.mean if point.score.high is None else point.score.high for point in points)
    margin = max(0.06 * (high - low), 5 * 10 ** -max(point.score.decimals for point in points))
    return low - margin, high + margin


def _draw_points(axes: Axes, scatter: Scatter) -> None:
    """Draw the points, a strip for the interval of each cost, and the intervals of the scores on the front.

    Rows of one student have the same cost, so that bars of all their scores would cover each other: the labels have
    the others.
    """
    for low, high in strips(point.cost for point in scatter.points):
        axes.axvspan(low, high, color=GREY, alpha=0.12, linewidth=0, zorder=1)
    bars = [(p.cost[0], p.score.low, p.score.high, p.style.colour) for p in scatter.front if p.score.low is not None]
    if bars:
        places, lows, highs, colours = zip(*bars, strict=True)
        axes.vlines(places, lows, highs, colors=colours, linewidth=1.0, alpha=0.6, zorder=3)
    by_style: dict[RowStyle, list[tuple[float, float]]] = {}
    for point in scatter.points:
        by_style.setdefault(point.style, []).append((point.cost[0], point.score.mean))
    draw_points(axes, by_style)


def _draw_front(axes: Axes, scatter: Scatter) -> None:
    """Draw the front as a step line across the plot; rows behind it are dominated."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    far, worst = (left if scatter.cost.more_is_better else right), (bottom if scatter.higher_is_better else top)
    corners = pareto_front.staircase([(point.cost[0], point.score.mean) for point in scatter.front], far, worst)
    axes.plot(*zip(*corners, strict=True), "--", color=GREY, linewidth=0.9, zorder=2)


def _draw_labels(axes: Axes, scatter: Scatter, placed: Sequence[PlacedPoint], lengths: Sequence[float]) -> None:
    """Draw labels in columns to the right of the points, ordered by height, each with a line to its point."""
    bottom, top = axes.get_ylim()
    height = axes.bbox.height / axes.figure.dpi
    front = scatter.front
    for left, members in label_columns(placed, lengths):
        members = sorted(members, key=lambda index: scatter.points[index].score.mean)
        heights = [(scatter.points[index].score.mean - bottom) / (top - bottom) * height for index in members]
        for index, height_wanted, free in zip(
            members, heights, spread_labels(heights, APART, 0.08, height - 0.08), strict=True
        ):
            point, at = scatter.points[index], placed[index].at
            axes.annotate(
                point.label,
                xy=(at / BREADTH, height_wanted / height), xytext=(left / BREADTH, free / height),
                xycoords="axes fraction", textcoords="axes fraction",
                va="center", ha="left", fontsize=TYPE, color=INK,
                weight="bold" if point in front else "normal", zorder=5,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8},
                arrowprops={"arrowstyle": "-", "color": point.style.colour, "alpha": 0.6, "linewidth": 0.6,
                            "shrinkA": 1, "shrinkB": 4, "relpos": (0, 0.5)},
            )  # fmt: skip
