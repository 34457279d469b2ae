"""The Pareto front: the items that no other item dominates."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")

Loss = tuple[float, float]
"""Two finite numbers to minimize."""


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
