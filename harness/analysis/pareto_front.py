"""The Pareto front: the items that no other item dominates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

Item = TypeVar("Item")

Loss = tuple[float, float]
"""Two finite numbers to minimize."""

Corner = tuple[float, float]
"""Coordinates in a plot."""


def front(items: Iterable[Item], loss: Callable[[Item], Loss]) -> list[Item]:
    """The items that no other dominates, sorted by the first number; ties keep their order.

    An item dominates another if it is no worse in both numbers and better in one. Items with equal losses are either
    all on the front or all off it.
    """
    optimal: list[Item] = []
    for item in sorted(items, key=loss):
        if not optimal or loss(item) == loss(optimal[-1]) or loss(item)[1] < loss(optimal[-1])[1]:
            optimal.append(item)
    return optimal


def staircase(points: Sequence[Corner], far: float, worst: float) -> list[Corner]:
    """The corners of the line that bounds what the front dominates; every plot of a front draws this line.

    Args:
        points: the front as (cost, score), the cheapest first; at least one.
        far: the most expensive cost of the plot.
        worst: the worst score of the plot.
    """
    ends = [*(cost for cost, _ in points[1:]), far]
    line = [corner for (cost, score), end in zip(points, ends, strict=True) for corner in ((cost, score), (end, score))]
    return [(points[0][0], worst), *line]
