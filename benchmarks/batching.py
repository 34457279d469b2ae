"""Benchmark `batching`: training time with random, grouped and bucketed batches."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import get_args

from benchmarks.brewer import CHECK, CHECKED, refuse_difference
from benchmarks.measuring import Contestant, Measured, Row, Times, interleaved, ratios
from benchmarks.options import Options
from benchmarks.workload import TOKENIZER_NAME, Entry, Workload, entries, sst2_data
from harness.config.training_schema import Batching
from harness.latency.timing_protocol import Call

CLAIM = (
    "Time of a cohort on random batches of SST-2, each padded to its longest row, divided by that of the same cohort"
    " with `batching: grouped` (the same batches, computed in groups of similar length) and `bucketed` (other batches,"
    " of similar length). Before anything is timed, the losses of random and grouped are checked to be equal. The notes"
    " give the share of padding among the computed tokens."
)
BASE: Batching = "random"


def measure(options: Options, say: Callable[[str], None]) -> Measured:
    data, times, rows, notes = sst2_data(options), dict[str, list[int]](), list[Row](), dict[str, float | str]()
    modes: tuple[Batching, ...] = get_args(Batching)
    selected = entries()[: options.runs]
    for mode in modes:
        notes[f"padding, {mode}"] = padding(Workload(options, data, batching=mode))
    for size in options.students:
        say(f"{options.teacher} -> {size}")
        check({mode: Workload(options, data, **{**CHECK, "batching": mode}) for mode in (BASE, "grouped")}, size)
        contestants = {
            f"{size}, {mode}": partial(_training, Workload(options, data, batching=mode), selected, size)
            for mode in modes
        }
        times |= interleaved(dict[str, Contestant](contestants), options, say=say)
        rows += [row(times, size, mode) for mode in modes if mode != BASE]
    return Measured(CLAIM, rows, times, notes)


def row(times: Times, size: str, mode: Batching) -> Row:
    """The ratio of times, random over `mode`."""
    return Row(what=f"{size}: {BASE} / {mode}", ratios=ratios(times, [f"{size}, {BASE}"], [f"{size}, {mode}"]))


def padding(workload: Workload) -> float:
    """The share of padding among the computed tokens of the first batches."""
    stream = workload.stream()
    steps = [stream.at(position, workload.device) for position in range(workload.options.steps)]
    computed = sum(group.inputs["input_ids"].numel() for step in steps for group in step.groups(TOKENIZER_NAME))
    return 1 - sum(step.tokens for step in steps) / computed


def check(workloads: dict[Batching, Workload], size: str) -> None:
    """Raise `AssertionError` if a loss of the first steps differs between the workloads."""
    (entry, *_) = entries()
    (first, expected), *others = [
        (mode, workload.train(workload.runs([entry], size))[0]) for mode, workload in workloads.items()
    ]
    for mode, history in others:
        for number, (point, other) in enumerate(list(zip(history, expected, strict=True))[:CHECKED], start=1):
            refuse_difference(f"step {number} of {size}", point.terms, other.terms, names=(mode, first))


def _training(workload: Workload, selected: list[Entry], size: str) -> Call:
    return partial(workload.train, workload.runs(selected, size))
