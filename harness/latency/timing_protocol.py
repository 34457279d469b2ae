"""The timing protocol: warm-up until the median settles, then interleaved rounds. Independent of models."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Clock = Callable[[], int]
"""Returns nanoseconds since an arbitrary origin."""

Call = Callable[[], object]
"""A call to time. It returns when its outputs are in host memory."""

Group = TypeVar("Group")

WINDOW = 5
"""Number of calls per median during warm-up."""

TOLERANCE = 0.05
"""Largest relative difference of two medians that counts as settled."""

WARMUP_SHARE = 1 / 3
"""Largest share of the time budget that is spent on warm-up."""


@dataclass(frozen=True)
class WarmUp:
    """Number of warm-up calls, and whether the median had settled."""

    calls: int
    settled: bool


def settled(times: Sequence[int]) -> bool:
    """Whether the median of the last `WINDOW` calls is within `TOLERANCE` of that of the `WINDOW` calls before."""
    if len(times) < 2 * WINDOW:
        return False
    before, after = (statistics.median(part) for part in (times[-2 * WINDOW : -WINDOW], times[-WINDOW:]))
    return abs(after - before) <= TOLERANCE * before


def warm_up(call: Call, *, calls: int, deadline: int, clock: Clock = time.perf_counter_ns) -> WarmUp:
    """Call until the median settles, at most `calls` times; after the first call, stop at `deadline` (nanoseconds)."""
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
    """Time each model once per group and round.

    A group (a shape) has variants (batches of that shape), each with a call for every model. In each round, groups are
    visited in random order. For each group one variant is chosen for all models, and the models are timed in random
    order. So disturbances of the machine affect all models alike, and no model always runs after the same one. All
    variants of a group are used once before one is used again.

    Args:
        groups: group -> variants -> model name -> call.
        rounds: largest number of rounds.
        deadline: after the first round, no round starts later (nanoseconds of `clock`).

    Returns:
        group -> model name -> nanoseconds, one per round.
    """
    generator = random.Random(seed)
    times: dict[Group, dict[str, list[int]]] = {
        group: {name: [] for name in variants[0]} for group, variants in groups.items()
    }
    unused: dict[Group, list[int]] = {group: [] for group in groups}
    for number in range(rounds):
        if number and clock() >= deadline:
            break
        for group in generator.sample(list(groups), len(groups)):
            unused[group] = unused[group] or generator.sample(range(len(groups[group])), len(groups[group]))
            calls = groups[group][unused[group].pop()]
            for name in generator.sample(list(calls), len(calls)):
                times[group][name].append(timed(calls[name], clock))
    return times


def timed(call: Call, clock: Clock) -> int:
    """Nanoseconds of one call, at least 1, so that ratios are finite."""
    started = clock()
    call()
    return max(1, clock() - started)
