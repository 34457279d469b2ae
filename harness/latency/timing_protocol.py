"""Warm-up until the median settles, then interleaved rounds. Nothing here knows of models: calls and a clock."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Clock = Callable[[], int]
"""Nanoseconds since some moment."""

Call = Callable[[], object]
"""What is timed: it returns when its outputs are in the host's memory."""

Group = TypeVar("Group")

WINDOW = 5
"""Calls that a median is taken over while warming up."""

TOLERANCE = 0.05
"""Two medians that differ by no more than this share have settled."""

WARMUP_SHARE = 1 / 3
"""Of the time budget, at most, before the rounds begin."""


@dataclass(frozen=True)
class WarmUp:
    """How many calls it took, and whether the median had settled when they ended."""

    calls: int
    settled: bool


def settled(times: Sequence[int]) -> bool:
    """Whether the median of the last `WINDOW` calls is within `TOLERANCE` of that of the `WINDOW` before them."""
    if len(times) < 2 * WINDOW:
        return False
    before, after = (statistics.median(part) for part in (times[-2 * WINDOW : -WINDOW], times[-WINDOW:]))
    return abs(after - before) <= TOLERANCE * before


def warm_up(call: Call, *, calls: int, deadline: int, clock: Clock = time.perf_counter_ns) -> WarmUp:
    """Call until the median settles, at most `calls` times and, after the first call, not beyond `deadline`."""
    times = [timed(call, clock)]
    while not settled(times):
        if len(times) >= calls or clock() >= deadline:
            return WarmUp(len(times), settled=False)
        times.append(timed(call, clock))
    return WarmUp(len(times), settled=True)


def interleaved(
    groups: Mapping[Group, Sequence[Mapping[str, Call]]],
    *,
    rounds: int,
    deadline: int,
    seed: int,
    clock: Clock = time.perf_counter_ns,
) -> dict[Group, dict[str, list[int]]]:
    """Time each model in every group once a round, for `rounds` rounds; after the first none begins beyond `deadline`.

    A group (a shape) has variants (batches of that shape), each with a call for every model. A round takes the groups
    in a random order, of each a variant, the same for all models, and the models one after another, in a random order
    too: what disturbs the machine meets all that are compared, and no model always runs after the same one. The
    variants of a group have all been taken before one is taken again.

    Returns:
        group -> name -> nanoseconds, one for each round.
    """
    draw = random.Random(seed)
    times: dict[Group, dict[str, list[int]]] = {
        group: {name: [] for name in variants[0]} for group, variants in groups.items()
    }
    left: dict[Group, list[int]] = {group: [] for group in groups}
    for number in range(rounds):
        if number and clock() >= deadline:
            break
        for group in draw.sample(list(groups), len(groups)):
            left[group] = left[group] or draw.sample(range(len(groups[group])), len(groups[group]))
            calls = groups[group][left[group].pop()]
            for name in draw.sample(list(calls), len(calls)):
                times[group][name].append(timed(calls[name], clock))
    return times


def timed(call: Call, clock: Clock) -> int:
    """Nanoseconds of one call; at least one, so that a ratio of two always exists."""
    began = clock()
    call()
    return max(1, clock() - began)
