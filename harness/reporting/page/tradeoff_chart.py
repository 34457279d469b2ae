"""Trade-off chart of the page as SVG: average score against speed-up, or against size without latencies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.analysis import pareto_front
from harness.analysis.interval_coverage import teacher_condition
from harness.analysis.score_format import interval
from harness.analysis.summary import BoardRow, Statistic, Summary
from harness.plots.cost_axis import CostAxis, Interval, costs, strips, strips_note
from harness.reporting.page.axis_scales import Scale, around, label
from harness.reporting.page.html_tables import measured_rows
from harness.reporting.page.markup import Safe, el

WIDTH, HEIGHT = 960, 440
LEFT, TOP, BOTTOM = 52, 16, 48

NAME_GAP = 19
"""Distance from a point to its name: with room for a line to it past the points above and below."""

LETTER, LINE = 6.7, 13
"""Width of a name per character, and minimum vertical distance of two names."""


@dataclass(frozen=True)
class TradeoffPoint:
    """A row with its cost and score; `place` is its index on the page, `description` its tooltip."""

    place: int
    row: BoardRow
    name: str
    cost: Interval
    score: Statistic
    description: str


@dataclass(frozen=True)
class ChartPoint:
    """Coordinates of a point and of its name, which starts `NAME_GAP` to the right of the point."""

    point: TradeoffPoint
    across: float
    up: float
    name_up: float

    @property
    def name_across(self) -> float:
        return self.across + NAME_GAP


@dataclass(frozen=True)
class ChartArea:
    """The points of a chart. `higher`: whether a higher score is better."""

    cost: CostAxis
    higher: bool
    points: Sequence[TradeoffPoint]

    def front(self) -> list[TradeoffPoint]:
        """Return the Pareto front, the cheapest point first."""
        return pareto_front.front(self.points, lambda point: self.cost.loss(point.cost, point.score, self.higher))


def plots(summary: Summary) -> list[Safe]:
    """Return a figure for each machine with latencies; otherwise one against size."""
    charts = [_plot(summary, cost) for cost in costs(summary)]
    return [_figure(plot, _caption(summary, plot)) for plot in charts if plot.points] or [
        el("p", "No row has an average and a known size, so there is no trade-off to show.", class_="note")
    ]


def _plot(summary: Summary, cost: CostAxis) -> ChartArea:
    points = []
    several = len(summary.plan.students) > 1
    for place, row in enumerate(measured_rows(summary)):
        x = cost.of(row)
        if x and row.average:
            name = " · ".join([row.label, row.student] if row.student and several else [row.label])
            cost_text = f"{x[0]:.3g}" + (f" [{x[1]:.3g}, {x[2]:.3g}]" if x[1] != x[2] else "")
            description = f"{name}: average {interval(row.average)}, {cost.axis.partition(' (')[0]} {cost_text}"
            points.append(TradeoffPoint(place, row, name, x, row.average, description))
    return ChartArea(cost, summary.plan.tasks[0].higher_is_better, points)


def _caption(summary: Summary, plot: ChartArea) -> str:
    missing = len(measured_rows(summary)) - len(plot.points)
    side = "right" if plot.cost.more_is_better else "left"
    parts = [
        f"Farther {side} is {plot.cost.better}; {'higher' if plot.higher else 'lower'} is a better score.",
        "Dashed, with bold names: the Pareto front, rows that no other row beats in both; bars (of the front): 95 % "
        f"intervals{teacher_condition(summary.plan)}; squares are teachers.",
        strips_note(plot.cost, (point.cost for point in plot.points)),
        f"Not shown: {missing} (no average, or {plot.cost.lacking})." if missing else "",
    ]
    return " ".join(part for part in parts if part)


def _figure(plot: ChartArea, caption: str) -> Safe:
    right = WIDTH - min(WIDTH / 2, NAME_GAP + 26 + LETTER * max(len(point.name) for point in plot.points))
    x = around([value for point in plot.points for value in point.cost], LEFT, right, log=True)
    ends = [v for p in plot.points for v in (p.score.mean, p.score.low, p.score.high) if v is not None]
    y = around(ends, HEIGHT - BOTTOM, TOP)
    front, placed = plot.front(), _place(plot, x, y)
    far, worst = LEFT if plot.cost.more_is_better else right, HEIGHT - BOTTOM if plot.higher else TOP
    corners = pareto_front.staircase([(x(p.cost[0]), y(p.score.mean)) for p in front], far, worst)
    line = " ".join(f"{across:.2f},{up:.2f}" for across, up in corners)
    drawing = el(
        "svg",
        list(_axes(plot.cost, x, y, right)),
        list(_strips(plot, x)),
        el("polyline", points=line, class_="front"),
        list(_whiskers(front, x, y)),
        [_mark(spot, spot.point in front) for spot in placed],
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="group",
        aria_label=plot.cost.title,
        class_="chart",
    )
    scroll = el("div", drawing, class_="scroll", tabindex="0", role="region", aria_label=plot.cost.title)
    title = plot.cost.title[:1].upper() + plot.cost.title[1:]
    return el("figure", el("figcaption", el("b", title), el("span", caption)), scroll)


def _axes(cost: CostAxis, x: Scale, y: Scale, right: float) -> Iterator[Safe]:
    for value in y.ticks():
        yield el("line", x1=LEFT, x2=right, y1=y(value), y2=y(value), class_="grid")
        yield el("text", label(value), x=LEFT - 8, y=y(value) + 4, class_="tick end")
    for value in x.ticks():
        yield el("line", x1=x(value), x2=x(value), y1=TOP, y2=HEIGHT - BOTTOM, class_="grid")
        yield el("text", label(value) + cost.unit, x=x(value), y=HEIGHT - BOTTOM + 18, class_="tick middle")
    yield el("text", cost.axis, x=(LEFT + right) / 2, y=HEIGHT - 8, class_="axis middle")
    middle = (TOP + HEIGHT - BOTTOM) / 2
    yield el("text", "average score", x=-middle, y=13, transform="rotate(-90)", class_="axis middle")


def _place(plot: ChartArea, x: Scale, y: Scale) -> list[ChartPoint]:
    """Place points and names from the top; a name moves down until it overlaps no other."""
    placed: list[ChartPoint] = []
    for point in sorted(plot.points, key=lambda point: (y(point.score.mean), point.place)):
        across, up = x(point.cost[0]), y(point.score.mean)
        name_up = up
        overlapping = [spot for spot in placed if _overlap(point.name, across, spot.point.name, spot.across)]
        for other in sorted(spot.name_up for spot in overlapping):
            name_up = other + LINE if abs(other - name_up) < LINE else name_up
        placed.append(ChartPoint(point, across, up, name_up))
    return placed


def _overlap(name: str, x: float, other: str, other_x: float) -> bool:
    """Return whether the names of points at `x` and `other_x` would overlap at the same height."""
    return x < other_x + LETTER * len(other) + 12 and other_x < x + LETTER * len(name) + 12


def _strips(plot: ChartArea, x: Scale) -> Iterator[Safe]:
    """Draw the interval of each cost over the whole height."""
    for low, high in strips(point.cost for point in plot.points):
        width, height = x(high) - x(low), HEIGHT - BOTTOM - TOP
        yield el("rect", x=x(low), y=TOP, width=width, height=height, class_="strip")


def _whiskers(front: Sequence[TradeoffPoint], x: Scale, y: Scale) -> Iterator[Safe]:
    """Draw the intervals of the scores on the front. Those of rows with the same cost would cover each other."""
    for point in front:
        across, score = x(point.cost[0]), point.score
        if score.low is not None and score.high is not None:
            ends = {"x1": across, "x2": across, "y1": y(score.low), "y2": y(score.high)}
            yield el("line", **ends, class_="whisker", data_row=str(point.place))


def _mark(spot: ChartPoint, on_front: bool) -> Safe:
    point, (across, up) = spot.point, (spot.across, spot.up)
    ends = {"x1": across + 7, "x2": spot.name_across - 3, "y1": up, "y2": spot.name_up}
    square = el("rect", x=across - 5, y=up - 5, width=10, height=10, class_="dot")
    return el(
        "a",
        el("title", point.description),
        el("line", **ends, class_="leader") if spot.name_up - up > 4 else None,
        square if point.row.role == "teacher" else el("circle", cx=across, cy=up, r=5.5, class_="dot"),
        el("text", point.name, x=spot.name_across, y=spot.name_up + 4, class_="name"),
        href=f"#row-{point.place}",
        class_=f"mark {point.row.role}{' best' * on_front}",
        data_row=str(point.place),
        aria_label=point.description,
    )
