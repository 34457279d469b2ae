"""The Pareto front: what no other beats in one way without being worse in the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")

Loss = tuple[float, float]
"""Two finite numbers; less is better in both."""


def front(items: Iterable[Item], loss: Callable[[Item], Loss]) -> list[Item]:
    """The items that no other dominates, by the first number, and in their order where it is the same.

    An item dominates another if it is no worse in both numbers and better in one. So items that are equal in both stand
    on the front together or not at all.
    """
    kept: list[Item] = []
    for item in sorted(items, key=loss):
        if not kept or loss(item) == loss(kept[-1]) or loss(item)[1] < loss(kept[-1])[1]:
            kept.append(item)
    return kept
