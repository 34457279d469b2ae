"""Random choices that are equal on every platform and Python version."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


class SeededChoice:
    """Random choices from a seed, based on `random.Random.random` only.

    Python guarantees the sequence of this method across versions, but not of the other methods of `random.Random`.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self._random.random() < probability

    def pick(self, choices: Sequence[T]) -> T:
        """One of `choices`, uniformly."""
        return choices[int(self._random.random() * len(choices))]

    def some(self, choices: Iterable[T], count: int) -> list[T]:
        """`count` of `choices` without replacement, in random order."""
        remaining = list(choices)
        return [remaining.pop(int(self._random.random() * len(remaining))) for _ in range(count)]

    def shuffled(self, items: Iterable[T]) -> list[T]:
        """All items, in random order."""
        remaining = list(items)
        return self.some(remaining, len(remaining))
