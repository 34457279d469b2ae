"""A cohort's wall time over the sum of its parts, measured alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.alone import Parts
from benchmarks.measuring import Contestant, Measured, Row, Target, Times, interleaved, ratios
from benchmarks.options import Options
from benchmarks.workload import Entry, Workload, entries, fixed_length_data
from harness.latency.timing_protocol import Call

CLAIM = (
    "Wall time of a cohort over the sum of its parts measured alone: the teacher's forward passes, and each student's"
    " forward, losses, backward and optimiser step in a plain loop. What is above 1 is the harness's own."
)
MOST = 1.10


def cohorts(runs: int) -> dict[str, list[Entry]]:
    """Of one method that needs logits alone, so that transformers and torch do all of the parts; and of several
    methods, whose own losses and captured tensors are among the parts."""
    several = entries()
    return {
        f"{runs} runs on logits": [several[0]] * runs,
        f"{runs} runs of several methods": [several[index % len(several)] for index in range(runs)],
    }


def row(times: Times, name: str, options: Options) -> Row:
    """Of the cohort `name`, whose parts' names begin with its own."""
    target: Target | None = ("at most", MOST) if options.expected else None
    parts = [part for part in times if part.startswith(f"{name}: ")]
    return Row(what=f"{name}: together / alone", ratios=ratios(times, [name], parts), target=target)


def measure(options: Options, say: Callable[[str], None]) -> Measured:
    workload, times, rows = Workload(options, fixed_length_data(options)), dict[str, list[int]](), list[Row]()
    for size in options.students:
        for what, chosen in cohorts(options.runs).items():
            name = f"{size}, {what}"
            say(name)
            times |= interleaved(contestants(workload, name, chosen, size), options, say=say)
            rows.append(row(times, name, options))
    return Measured(CLAIM, rows, times)


def contestants(workload: Workload, name: str, chosen: Sequence[Entry], size: str) -> dict[str, Contestant]:
    """The cohort, and its parts."""
    parts = Parts(workload, workload.runs(chosen, size))

    def student(entry: Entry, seed: int) -> Call:
        return partial(parts.train, workload.run(entry, size, seed))

    return {
        name: lambda: partial(workload.train, workload.runs(chosen, size)),
        f"{name}: teacher": lambda: lambda: [None for _ in parts.teach()],
        **{
            f"{name}: student {number}": partial(student, entry, workload.options.seed + number - 1)
            for number, entry in enumerate(chosen, start=1)
        },
    }
