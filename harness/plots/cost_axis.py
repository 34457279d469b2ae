"""Costs for the horizontal axis of a Pareto plot: speed-up or parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from harness.analysis.pareto_front import Loss
from harness.analysis.speed_up import SpeedUp
from harness.analysis.summary import BoardRow, Statistic, Summary

Interval = tuple[float, float, float]
"""A value and the ends of its interval; without an interval both ends equal the value."""


@dataclass(frozen=True)
class CostAxis:
    """A cost of rows.

    Attributes:
        title: title of the plot.
        quantity: what the cost is, such as "speed-up".
        axis: label of the axis.
        unit: suffix of the tick labels.
        more_is_better: whether a higher value is better.
        better: the word for a better cost, such as "faster".
        lacking: why a row without a cost is not shown.
        of: returns the cost of a row; None if it is not known.
    """

    title: str
    quantity: str
    axis: str
    unit: str
    more_is_better: bool
    better: str
    lacking: str
    of: Callable[[BoardRow], Interval | None]

    def loss(self, cost: Interval, score: Statistic, higher_is_better: bool) -> Loss:
        """Return cost and average score as numbers to minimise."""
        return -cost[0] if self.more_is_better else cost[0], -score.mean if higher_is_better else score.mean


def costs(summary: Summary) -> list[CostAxis]:
    """Return a cost for each machine with speed-ups; without any, the number of parameters."""
    return [_speed_up(column) for column in summary.speed_ups] or [PARAMETERS]


def strips(intervals: Iterable[Interval]) -> list[tuple[float, float]]:
    """Return the ends of the intervals, each once: rows of one student have the same cost, so they share a strip."""
    return list(dict.fromkeys((low, high) for _, low, high in intervals if low < high))


def strips_note(cost: CostAxis, intervals: Iterable[Interval]) -> str:
    """Return the sentence of a caption that explains the strips; empty if there are none."""
    return f"Shaded: the interval of a size's {cost.quantity}, which its rows share." if strips(intervals) else ""


def _speed_up(column: SpeedUp) -> CostAxis:
    def of(row: BoardRow) -> Interval | None:
        ratio = column.of.get((row.role, row.student or row.label))
        if ratio is None:
            return None
        low, high = (ratio.median if end is None else end for end in (ratio.low, ratio.high))
        return ratio.median, low, high

    return CostAxis(
        title=f"average score against speed-up ({column.label}, {column.hardware.name})",
        quantity="speed-up",
        axis=f"speed-up over {column.reference} ({column.backend}, {column.batch}; logarithmic)",
        unit="×",
        more_is_better=True,
        better="faster",
        lacking="not timed",
        of=of,
    )


def _millions(row: BoardRow) -> Interval | None:
    """Return the parameters in millions: the geometric mean and range over the tasks, whose heads differ in size."""
    if row.parameters is None:
        return None
    least, most = (number / 1e6 for number in row.parameters)
    return math.sqrt(least * most), least, most


PARAMETERS = CostAxis(
    title="average score against parameters (latency was not measured)",
    quantity="number of parameters",
    axis="parameters in millions, including the head (logarithmic)",
    unit="",
    more_is_better=False,
    better="smaller",
    lacking="size not known",
    of=_millions,
)
