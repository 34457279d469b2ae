"""Placement of points and labels without overlap, in inches from the lower left corner of the axes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MARGIN = 0.3
"""Distance from the left edge to the first point."""

LABEL_GAP = 0.22
"""Distance from the rightmost point of a column to its labels."""

POINT_GAP = 0.1
"""Points closer than this share a group, and with it a column of labels."""


@dataclass(frozen=True)
class PlacedPoint:
    """Horizontal placement of a point.

    Attributes:
        at: its coordinate.
        group: number of its group of points with about the same cost.
        end: right end of its interval, or `at`.
    """

    at: float
    group: int
    end: float


def place_points(
    costs: Sequence[tuple[float, float, float]], breadth: float, longest: float
) -> tuple[tuple[float, float], list[PlacedPoint]]:
    """Return the limits of a logarithmic axis (as log10), and the placement of each point, in the order of `costs`.

    `costs` are (value, low, high). Every point is at its value: the axis is measured. `breadth` is the width of the
    axes; labels of length `longest` fit to the right of all points.
    """
    low, high = math.log10(min(cost[1] for cost in costs)), math.log10(max(cost[2] for cost in costs))
    if high - low < 0.1:
        low, high = low - 0.05, high + 0.05
    right = LABEL_GAP + longest
    inch = (high - low) / (breadth - MARGIN - right)
    limits = (low - MARGIN * inch, high + right * inch)
    values, ends = ([(math.log10(cost[end]) - limits[0]) / inch for cost in costs] for end in (0, 2))
    groups = {index: number for number, members in enumerate(_groups(values)) for index in members}
    return limits, [PlacedPoint(values[index], groups[index], ends[index]) for index in range(len(costs))]


def _groups(at: Sequence[float]) -> Iterator[list[int]]:
    """Yield the groups from left to right, as indices of points that are close to the first point of the group."""
    group: list[int] = []
    for index in sorted(range(len(at)), key=lambda index: (at[index], index)):
        if group and at[index] - at[group[0]] > POINT_GAP:
            yield sorted(group)
            group = []
        group.append(index)
    yield sorted(group)


def label_columns(points: Sequence[PlacedPoint], lengths: Sequence[float]) -> Iterator[tuple[float, list[int]]]:
    """Yield columns of labels with these `lengths`: the left edge, and the indices of the points that it labels.

    A group has its own column if the labels fit before the next group; otherwise it shares the next group's column.
    """
    by_group: dict[int, list[int]] = {}
    for index, point in enumerate(points):
        by_group.setdefault(point.group, []).append(index)
    members: list[int] = []
    for group in sorted(by_group):
        members += by_group[group]
        left = max(max(points[index].at, points[index].end) for index in members) + LABEL_GAP
        following = [points[index].at for index in by_group.get(group + 1, ())]
        longest = max(lengths[index] for index in members)
        if not following or left + longest + POINT_GAP < min(following):
            yield left, members
            members = []


def spread_labels(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return coordinates at least `gap` apart, in the order of `wanted` (ascending), with least squared displacement.

    They are within `low` and `high` if they fit. After subtracting ``i * gap`` from the i-th coordinate, the gap
    becomes monotonicity, so that pool-adjacent-violators (isotonic regression) finds the optimum.
    """
    blocks: list[tuple[float, int]] = []  # mean, number of coordinates
    for index, coordinate in enumerate(wanted):
        mean, count = coordinate - index * gap, 1
        while blocks and blocks[-1][0] > mean:
            previous, size = blocks.pop()
            mean, count = (previous * size + mean * count) / (size + count), size + count
        blocks.append((mean, count))
    most = max(low, high - (len(wanted) - 1) * gap)
    free = [min(max(mean, low), most) for mean, count in blocks for _ in range(count)]
    return [coordinate + index * gap for index, coordinate in enumerate(free)]
