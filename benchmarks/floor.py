"""Benchmark `floor`: the time of a cohort against the sum of its parts measured alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from benchmarks import device_usage
from benchmarks.alone import Parts
from benchmarks.device_usage import Usage
from benchmarks.measuring import Contestant, Measured, Row, Target, Times, interleaved, ratios
from benchmarks.options import Options
from benchmarks.workload import Entry, Workload, entries, fixed_length_data
from harness.latency.timing_protocol import Call

CLAIM = (
    "Time of a cohort divided by the sum of its parts measured alone: the teacher's forward passes, and each student's"
    " forward, losses, backward and optimizer step in a plain loop. The excess over 1 is the overhead of the harness."
)
MOST = 1.10


def cohorts(runs: int) -> dict[str, list[Entry]]:
    """A cohort of one method that needs only logits, so that its parts need nothing of the harness, and a cohort of
    several methods, whose losses and captured outputs are part of the parts."""
    several = entries()
    return {
        f"{runs} runs on logits": [several[0]] * runs,
        f"{runs} runs of several methods": [several[index % len(several)] for index in range(runs)],
    }


def row(times: Times, name: str, options: Options) -> Row:
    """The row of the cohort `name`. The names of its parts start with ``name: ``."""
    target: Target | None = ("at most", MOST) if options.expected else None
    parts = [part for part in times if part.startswith(f"{name}: ")]
    return Row(what=f"{name}: together / alone", ratios=ratios(times, [name], parts), target=target)


def measure(options: Options, say: Callable[[str], None]) -> Measured:
    workload, times, rows = Workload(options, fixed_length_data(options)), dict[str, list[int]](), list[Row]()
    usage: dict[str, Usage] = {}
    for size in options.students:
        for description, members in cohorts(options.runs).items():
            name = f"{size}, {description}"
            say(name)
            competing = contestants(workload, name, members, size)
            times |= interleaved(competing, options, say=say)
            competing = {name: competing[name]}  # without the parts, whose batches and teacher outputs take memory
            usage |= device_usage.of(competing, {name: len(members) * workload.tokens}, workload.device)
            rows.append(row(times, name, options))
    return Measured(CLAIM, rows, times, usage=usage)


def contestants(workload: Workload, name: str, members: Sequence[Entry], size: str) -> dict[str, Contestant]:
    """The cohort and its parts, by name."""
    parts = Parts(workload, workload.runs(members, size))

    def student(entry: Entry, seed: int) -> Call:
        return partial(parts.train, workload.run(entry, size, seed))

    return {
        name: lambda: partial(workload.train, workload.runs(members, size)),
        f"{name}: teacher": lambda: lambda: [None for _ in parts.teach()],
        **{
            f"{name}: student {number}": partial(student, entry, workload.options.seed + number - 1)
            for number, entry in enumerate(members, start=1)
        },
    }
