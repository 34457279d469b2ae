"""Separate runs over one cohort of the same runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.measuring import Contestant, Measured, Row, Times, interleaved, ratios
from benchmarks.options import Options
from benchmarks.workload import Entry, Workload, entries, fixed_length_data
from harness.latency.timing_protocol import Call

CLAIM = (
    "Time of M runs of different methods, one after another, each with the teacher to itself, over that of one cohort"
    " of the same M runs. With M = 1 both are the same: what that row strays from 1 is the measurement's error."
)
COUNTS = (1, 2, 4, 6)
LEAST = {("4x312", 6): 2.5}
"""Of student and M."""


def rows(times: Times, options: Options, size: str, labels: Sequence[str]) -> list[Row]:
    """For each M."""
    found = []
    for count in COUNTS:
        least = LEAST.get((size, count)) if options.expected else None
        apart = [f"{size}, {label} alone" for label in labels[:count]]
        found.append(
            Row(
                what=f"{options.teacher} -> {size}, M = {count}: separate / cohort",
                ratios=ratios(times, apart, [f"{size}, cohort of {count}"]),
                target=("at least", least) if least else None,
            )
        )
    return found


def measure(options: Options, say: Callable[[str], None]) -> Measured:
    workload, times, found = Workload(options, fixed_length_data(options)), dict[str, list[int]](), list[Row]()
    chosen = entries()
    for size in options.students:
        say(f"{options.teacher} -> {size}")
        times |= interleaved(contestants(workload, chosen, size), options, say=say)
        found += rows(times, options, size, [entry.label for entry in chosen])
    return Measured(CLAIM, found, times)


def contestants(workload: Workload, chosen: Sequence[Entry], size: str) -> dict[str, Contestant]:
    """Each run by itself, and the cohorts of the first M of them."""

    def training(entries: Sequence[Entry]) -> Call:
        return partial(workload.train, workload.runs(entries, size))

    return {
        **{f"{size}, {entry.label} alone": partial(training, [entry]) for entry in chosen},
        **{f"{size}, cohort of {count}": partial(training, chosen[:count]) for count in COUNTS},
    }
