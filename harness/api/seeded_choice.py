"""Random choices that come out the same on every platform and Python release."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


class SeededChoice:
    """Made of `random.Random.random` alone: Python promises its sequence, but not those of its other methods."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def pick(self, choices: Sequence[T]) -> T:
        return choices[int(self._random.random() * len(choices))]

    def some(self, choices: Iterable[T], count: int) -> list[T]:
        """`count` different ones, in random order."""
        left = list(choices)
        return [left.pop(int(self._random.random() * len(left))) for _ in range(count)]

    def shuffled(self, items: Iterable[T]) -> list[T]:
        left = list(items)
        return self.some(left, len(left))
