"""Benchmark `cohort`: separate runs against one cohort of the same runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from benchmarks import device_usage
from benchmarks.device_usage import Usage
from benchmarks.measuring import Contestant, Measured, Row, Times, interleaved, ratios
from benchmarks.options import Options
from benchmarks.workload import Entry, Workload, entries, fixed_length_data
from harness.latency.timing_protocol import Call

CLAIM = (
    "Time of M runs of different methods, one after another, each with its own teacher passes, divided by the time of"
    " one cohort of the same M runs. With M = 1 both are the same, so that row shows the error of the measurement."
)
COUNTS = (1, 2, 4, 6)
LEAST = {("4x312", 6): 2.5}
"""(student, M) -> expected ratio."""


def rows(times: Times, options: Options, size: str, labels: Sequence[str]) -> list[Row]:
    """One row per M."""
    table = []
    for count in COUNTS:
        least = LEAST.get((size, count)) if options.expected else None
        apart = [f"{size}, {label} alone" for label in labels[:count]]
        table.append(
            Row(
                what=f"{options.teacher} -> {size}, M = {count}: separate / cohort",
                ratios=ratios(times, apart, [f"{size}, cohort of {count}"]),
                target=("at least", least) if least else None,
            )
        )
    return table


def measure(options: Options, say: Callable[[str], None]) -> Measured:
    workload, times, table = Workload(options, fixed_length_data(options)), dict[str, list[int]](), list[Row]()
    usage: dict[str, Usage] = {}
    methods = entries()
    for size in options.students:
        say(f"{options.teacher} -> {size}")
        competing = contestants(workload, methods, size)
        times |= interleaved(competing, options, say=say)
        tokens = {f"{size}, cohort of {count}": count * workload.tokens for count in COUNTS}
        usage |= device_usage.of(competing, tokens, workload.device)
        table += rows(times, options, size, [entry.label for entry in methods])
    return Measured(CLAIM, table, times, usage=usage)


def contestants(workload: Workload, methods: Sequence[Entry], size: str) -> dict[str, Contestant]:
    """Each run alone, and the cohorts of the first M runs."""

    def training(entries: Sequence[Entry]) -> Call:
        return partial(workload.train, workload.runs(entries, size))

    return {
        **{f"{size}, {entry.label} alone": partial(training, [entry]) for entry in methods},
        **{f"{size}, cohort of {count}": partial(training, methods[:count]) for count in COUNTS},
    }
