"""What stands on the horizontal axis of a Pareto plot."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from harness.analysis.pareto_front import Loss
from harness.analysis.speed_up import SpeedUp
from harness.analysis.summary import Row, Statistic, Summary

Interval = tuple[float, float, float]
"""A value and the ends of its interval, which are the value itself where it has none."""


@dataclass(frozen=True)
class Cost:
    """What a row costs.

    Attributes:
        title: what the plot is of.
        axis: the axis's label.
        unit: behind each number of the axis.
        more_is_better: whether a higher number is the better one.
        better: the word for it.
        lacking: why a row that `of` gives None for is not shown.
    """

    title: str
    axis: str
    unit: str
    more_is_better: bool
    better: str
    lacking: str
    of: Callable[[Row], Interval | None]

    def loss(self, cost: Interval, score: Statistic, higher_is_better: bool) -> Loss:
        """A row's cost and average score as numbers of which less is better."""
        return -cost[0] if self.more_is_better else cost[0], -score.mean if higher_is_better else score.mean


def costs(summary: Summary) -> list[Cost]:
    """One for each machine that measured speed-ups; without any, the parameters."""
    return [_speed_up(column) for column in summary.speed_ups] or [PARAMETERS]


def _speed_up(column: SpeedUp) -> Cost:
    def of(row: Row) -> Interval | None:
        found = column.of.get((row.role, row.student or row.label))
        if found is None:
            return None
        low, high = (found.median if end is None else end for end in (found.low, found.high))
        return found.median, low, high

    return Cost(
        title=f"average score against speed-up ({column.label}, {column.hardware.name})",
        axis=f"speed-up over {column.reference} ({column.backend}, {column.batch}; logarithmic)",
        unit="×",
        more_is_better=True,
        better="faster",
        lacking="not timed",
        of=of,
    )


def _millions(row: Row) -> Interval | None:
    """From the least to the most over the tasks, whose heads differ."""
    if row.parameters is None:
        return None
    least, most = (number / 1e6 for number in row.parameters)
    return math.sqrt(least * most), least, most


PARAMETERS = Cost(
    title="average score against parameters (latency was not measured)",
    axis="parameters in millions, with the head (logarithmic)",
    unit="",
    more_is_better=False,
    better="smaller",
    lacking="size not known",
    of=_millions,
)
