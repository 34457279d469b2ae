"""Forest plots of the page: scores with their intervals, one panel for each task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.analysis.score_format import interval
from harness.analysis.summary import BoardRow, Statistic, Summary
from harness.reporting.page.axis_scales import Scale, around, label
from harness.reporting.page.html_tables import measured_rows
from harness.reporting.page.markup import Safe, el

WIDTH, HEIGHT = 150, 22

LONG = 16
"""Minimum length in characters of names that do not fit next to their whiskers."""


def panels(summary: Summary) -> Safe:
    """Return a panel for each task, and one for the average."""
    columns: list[tuple[str, str, list[Statistic | None]]] = [
        (task.name, task.score, [row.cells[task.name].score for row in measured_rows(summary)])
        for task in summary.plan.tasks
    ]
    columns.append(("average", "over the tasks that count", [row.average for row in measured_rows(summary)]))
    plots = [_panel(title, unit, measured_rows(summary), scores) for title, unit, scores in columns if any(scores)]
    return el("div", plots or el("p", "Nothing is complete yet.", class_="note"), class_="panels")


def _panel(title: str, unit: str, table_rows: Sequence[BoardRow], scores: Sequence[Statistic | None]) -> Safe:
    known = [score for score in scores if score]
    ends = [v for score in known for v in (score.mean, score.low, score.high) if v is not None]
    scale = around(ends, 6, WIDTH - 6, margin=0.03)
    ticks = scale.ticks(3)
    several = len({row.student for row in table_rows if row.student}) > 1
    body = [
        _row(index, row, row.student if several else "", score, scale, ticks)
        for index, (row, score) in enumerate(zip(table_rows, scores, strict=True))
        if score
    ]
    axis = el(
        "tr",
        el("td"),
        el("td", _svg([el("text", label(t), x=scale(t), y=14, class_="tick middle") for t in ticks])),
        el("td"),
        class_="axis",
    )
    caption = el("caption", el("b", title), " ", el("small", unit))
    long = any(len(f"{row.label} {row.student if several else ''}") > LONG for row in table_rows)
    return el("table", caption, el("tbody", body, axis), class_="forest long" if long else "forest")


def _row(index: int, row: BoardRow, student: str, score: Statistic, scale: Scale, ticks: Sequence[float]) -> Safe:
    name = el("th", row.label, el("small", f" {student}") if student else None, scope="row")
    drawing = _svg(list(_shapes(row, score, scale, ticks)))
    numbers = el("td", _split_interval(interval(score)), class_="num")
    return el("tr", name, el("td", drawing), numbers, data_row=str(index), class_=row.role)


def _split_interval(text: str) -> list[Safe | str]:
    """Return the mean, and its interval in small type."""
    mean, space, rest = text.partition(" ")
    return [mean, el("small", space + rest) if rest else ""]


def _shapes(row: BoardRow, score: Statistic, scale: Scale, ticks: Sequence[float]) -> Iterator[Safe]:
    middle = HEIGHT / 2
    yield from (el("line", x1=scale(t), x2=scale(t), y1=0, y2=HEIGHT, class_="grid") for t in ticks)
    if score.low is not None and score.high is not None:
        low, high = scale(score.low), scale(score.high)
        yield el("line", x1=low, x2=high, y1=middle, y2=middle, class_="whisker")
    at = scale(score.mean)
    if row.role == "teacher":
        yield el("rect", x=at - 4, y=middle - 4, width=8, height=8, class_="dot")
    else:
        yield el("circle", cx=at, cy=middle, r=4.5, class_="dot")


def _svg(content: Sequence[Safe]) -> Safe:
    return el("svg", content, viewBox=f"0 0 {WIDTH} {HEIGHT}", width=WIDTH, height=HEIGHT, aria_hidden="true")
