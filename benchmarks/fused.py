"""Benchmark `fused`: students that take their steps one after another against students that share passes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch

from benchmarks import device_usage
from benchmarks.device_usage import Usage
from benchmarks.measuring import Contestant, Measured, Row, interleaved, ratios
from benchmarks.options import Options
from benchmarks.workload import Entry, Workload, entries, fixed_length_data

CLAIM = (
    "Time of a cohort whose students take each step one after another (`training.execution: sequential`), divided by"
    " that of the same cohort with `fused`. The teacher's passes are part of both, so a small --teacher shows the"
    " students. On a CPU, times are CPU seconds of the process."
)
EXECUTIONS = ("sequential", "fused")


def measure(options: Options, say: Callable[[str], None]) -> Measured:
    data, device = fixed_length_data(options), torch.device(options.device)
    workloads = {execution: Workload(options, data, execution=execution) for execution in EXECUTIONS}
    times, rows, usage, notes = dict[str, list[int]](), list[Row](), dict[str, Usage](), dict[str, float | str]()
    clock = time.process_time_ns if device.type == "cpu" else time.perf_counter_ns
    for size in options.students:
        for description, members in cohorts(options.runs).items():
            name = f"{size}, {description}"
            say(name)
            contestants = {f"{name}, {key}": _contestant(load, members, size) for key, load in workloads.items()}
            times |= interleaved(contestants, options, say=say, clock=clock)
            sequential, fused = contestants
            rows.append(Row(what=f"{name}: sequential / fused", ratios=ratios(times, [sequential], [fused])))
            tokens = dict.fromkeys(contestants, len(members) * workloads["fused"].tokens)
            usage |= device_usage.of(contestants, tokens, device)
            for key in contestants:
                steps = [nanoseconds / options.steps for nanoseconds in times[key]]
                notes[f"{key}, seconds per step"] = statistics.median(steps) / 1e9
    return Measured(CLAIM, rows, times, notes, usage=usage)


def cohorts(runs: int) -> dict[str, list[Entry]]:
    """Runs of one method, whose losses cost nearly nothing, and of several, which form several stacks."""
    several = entries()
    return {
        f"{runs} runs on logits": [several[0]] * runs,
        f"{runs} runs of several methods": [several[index % len(several)] for index in range(runs)],
    }


def _contestant(workload: Workload, members: Sequence[Entry], size: str) -> Contestant:
    return lambda: partial(workload.train, workload.runs(members, size))
