"""Where points and labels go, so that none covers another. All in inches from the axes' lower left corner."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MARGIN = 0.3
"""Left of the first point."""

TO_LABEL = 0.22
"""From the last point of a column to its labels."""

CLOSE = 0.1
"""Points nearer than that are set side by side, this far apart."""

MOST = 0.9
"""Between the first and the last point that are set side by side."""


@dataclass(frozen=True)
class PlacedPoint:
    """Where a point is set: `at`, and in which group of points that share a cost; `end`: of its interval, or `at`.
    `beside`: whether it is to the right of where it belongs."""

    at: float
    group: int
    end: float
    beside: bool


def place_points(
    costs: Sequence[tuple[float, float, float]], breadth: float, longest: float
) -> tuple[tuple[float, float], list[PlacedPoint]]:
    """Limits of a logarithmic axis (as logarithms), and the places of points on it, in the order given.

    `costs` are value, low, high; of those that are close, the first given keeps its place, and the others stand to the
    right of it. To the right of all there is room for labels that are `longest`.
    """
    low, high = math.log10(min(cost[1] for cost in costs)), math.log10(max(cost[2] for cost in costs))
    if high - low < 0.1:
        low, high = low - 0.05, high + 0.05
    right = MOST + TO_LABEL + longest
    inch = (high - low) / (breadth - MARGIN - right)
    limits = (low - MARGIN * inch, high + right * inch)
    own, ends = ([(math.log10(cost[end]) - limits[0]) / inch for cost in costs] for end in (0, 2))
    found: dict[int, PlacedPoint] = {}
    for number, members in enumerate(_groups(own)):
        step = min(CLOSE, MOST / len(members))
        for place, index in enumerate(members):
            at = own[members[0]] + place * step
            found[index] = PlacedPoint(at, number, at if place else ends[index], place > 0)
    return limits, [found[index] for index in range(len(costs))]


def _groups(at: Sequence[float]) -> Iterator[list[int]]:
    """Indices of places that are close to the first of their group, from left to right."""
    group: list[int] = []
    for index in sorted(range(len(at)), key=lambda index: (at[index], index)):
        if group and at[index] - at[group[0]] > CLOSE:
            yield sorted(group)
            group = []
        group.append(index)
    yield sorted(group)


def label_columns(found: Sequence[PlacedPoint], lengths: Sequence[float]) -> Iterator[tuple[float, list[int]]]:
    """Columns of labels of such lengths: where each begins, and the points that it names.

    A group has a column of its own if there is room before the next one; else it shares that one's.
    """
    by_group: dict[int, list[int]] = {}
    for index, place in enumerate(found):
        by_group.setdefault(place.group, []).append(index)
    members: list[int] = []
    for group in sorted(by_group):
        members += by_group[group]
        left = max(max(found[index].at, found[index].end) for index in members) + TO_LABEL
        following = [found[index].at for index in by_group.get(group + 1, ())]
        longest = max(lengths[index] for index in members)
        if not following or left + longest + CLOSE < min(following):
            yield left, members
            members = []


def spread_labels(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places in the order of those wanted (ascending), at least `gap` apart, that move least (in squares).

    They lie from `low` to `high` if there is room. With ``i * gap`` taken off the i-th place, to be far enough apart is
    to be ascending: the nearest such places are found by pooling neighbours that are not (isotonic regression).
    """
    blocks: list[tuple[float, int]] = []  # mean, how many
    for index, place in enumerate(wanted):
        mean, count = place - index * gap, 1
        while blocks and blocks[-1][0] > mean:
            before, number = blocks.pop()
            mean, count = (before * number + mean * count) / (number + count), number + count
        blocks.append((mean, count))
    most = max(low, high - (len(wanted) - 1) * gap)
    free = [min(max(mean, low), most) for mean, count in blocks for _ in range(count)]
    return [place + index * gap for index, place in enumerate(free)]
