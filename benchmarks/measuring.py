"""Interleaved timing, ratios with intervals, and the result files of benchmarks."""

from __future__ import annotations

import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from tabulate import tabulate

from benchmarks import device_usage
from benchmarks.device_usage import Usage
from benchmarks.options import Options
from harness.api.latency_backend import synchronize
from harness.latency import machine
from harness.latency.timing_protocol import Call, Clock, timed
from harness.planning import devices
from harness.storage import atomic_writes, provenance
from harness.storage.latency_records import median_interval
from harness.storage.records import Provenance

Contestant = Callable[[], Call]
"""Prepares a call (untimed) and returns it."""

Times = Mapping[str, Sequence[int]]
"""Contestant -> nanoseconds per repetition."""

Target = tuple[Literal["at least", "at most"], float]


class Row(BaseModel):
    """A ratio of times, one value per repetition, with the expected value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    what: str = Field(description="what the ratio compares")
    ratios: list[float] = Field(min_length=1, description="one per repetition")
    target: Target | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)

    @property
    def met(self) -> bool | None:
        """Whether the median meets the target; None without a target."""
        if self.target is None:
            return None
        side, value = self.target
        return self.median >= value if side == "at least" else self.median <= value

    def cells(self) -> list[str]:
        interval = median_interval(self.ratios)
        expected = f"{self.target[0]} {self.target[1]:g}" if self.target else ""
        return [
            self.what,
            f"{self.median:.3f}",
            "[{:.3f}, {:.3f}]".format(*interval) if interval else "needs 6 repetitions",
            f"{min(self.ratios):.3f} to {max(self.ratios):.3f}",
            expected,
            {True: "yes", False: "no", None: ""}[self.met],
        ]


@dataclass(frozen=True)
class Measured:
    """The rows and times of a benchmark, with a description of the ratios.

    `sized`: whether they depend on the sizes of models and batches. `usage`: of the device, by contestant.
    """

    claim: str
    rows: Sequence[Row]
    times: Times
    notes: Mapping[str, float | str] = field(default_factory=dict)
    sized: bool = True
    usage: Mapping[str, Usage] = field(default_factory=dict)


class Result(BaseModel):
    """The result file of a benchmark: rows, times, options and provenance."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    benchmark: str
    claim: str
    options: Options
    rows: list[Row]
    nanoseconds: dict[str, list[int]]
    notes: dict[str, float | str] = Field(default_factory=dict)
    usage: dict[str, Usage] = Field(default_factory=dict, description="use of the device, by contestant")
    peak_flops: float | None = Field(None, description="FLOP/s of the device that utilization is relative to")
    sized: bool = Field(True, description="whether the times depend on the sizes in `options`")
    load: float | None = Field(description="load average over one minute at the start")
    provenance: Provenance

    def markdown(self) -> str:
        """The result as markdown: machine, versions and options, then the tables of ratios and of the device's use."""
        origin, hardware = self.provenance, self.provenance.hardware
        commit = f"{(origin.git_commit or 'unknown')[:12]}{' (modified)' if origin.git_dirty else ''}"
        about = [
            f"{hardware.name} ({hardware.device}), threads: {hardware.threads}, cores: {hardware.cores}",
            f"load before: {self.load}",
            ", ".join(f"{name} {version}" for name, version in origin.packages.items()),
            f"commit {commit}, {origin.started} to {origin.ended}",
            ", ".join(f"{name} {value}" for name, value in self._options() if value is not None),
            *(
                f"{name}: {value:g}" if isinstance(value, float) else f"{name}: {value}"
                for name, value in self.notes.items()
            ),
        ]
        headers = ["ratio of", "median", "95 % interval", "range", "expected", "met"]
        table = tabulate([row.cells() for row in self.rows], headers, tablefmt="pipe", disable_numparse=True)
        lines = [f"# {self.benchmark}", "", self.claim, "", *(f"- {line}" for line in about), "", table, ""]
        return "\n".join([*lines, *self._usage()])

    def _usage(self) -> Iterator[str]:
        """The lines of the table of the device's use."""
        if not self.usage:
            return
        cells = device_usage.rows(self.usage, self.nanoseconds, self.peak_flops)
        yield tabulate(cells, device_usage.HEADERS, tablefmt="pipe", disable_numparse=True)
        yield ""
        if self.peak_flops is not None:
            yield f"FLOP utilization is relative to {self.peak_flops / 1e12:g} TFLOP/s."
            yield ""

    def _options(self) -> Iterator[tuple[str, object]]:
        """The options that matter."""
        hidden = {"max_seconds", "peak_tflops"}
        sizes = () if self.sized else ("teacher", "students", "runs", "batch", "length", "steps", "device", "precision")
        yield from ((name, value) for name, value in self.options.model_dump().items() if name not in {*sizes, *hidden})

    def write(self, folder: Path) -> list[Path]:
        """Write `<benchmark>-<students>.json` and `.md` to `folder`, which is created if necessary.

        Without sizes, the name is `<benchmark>`; on a GPU it ends with device and precision.
        """
        folder.mkdir(parents=True, exist_ok=True)
        kind = torch.device(self.options.device).type
        device = [] if kind == "cpu" else [kind, self.options.precision]
        name = "-".join([self.benchmark, *([*self.options.students, *device] if self.sized else [])])
        json, table = (folder / f"{name}.{ending}" for ending in ("json", "md"))
        atomic_writes.write_text(json, self.model_dump_json(indent=1) + "\n")
        atomic_writes.write_text(table, self.markdown())
        return [json, table]


def interleaved(
    contestants: Mapping[str, Contestant],
    options: Options,
    *,
    warm_up: bool = True,
    say: Callable[[str], None] = lambda line: None,
    clock: Clock = time.perf_counter_ns,
) -> dict[str, list[int]]:
    """Time every contestant once per repetition, in random order, after a warm-up round unless `warm_up` is false.

    So disturbances of the machine affect all contestants alike. Garbage is collected before each call, not during it.
    The device is idle before each call, and a call has ended when it is idle again. After `options.max_seconds` no
    repetition starts, except the first one.
    """
    device = torch.device(options.device)

    def run(call: Call) -> None:
        call()
        synchronize(device)

    generator, deadline = random.Random(options.seed), clock() + (options.max_seconds or math.inf) * 1e9
    times: dict[str, list[int]] = {name: [] for name in contestants}
    with _frozen_objects():
        for number in range(0 if warm_up else 1, options.repetitions + 1):
            if number > 1 and clock() >= deadline:
                say(f"stopped after {number - 1} of {options.repetitions} repetitions")
                break
            say(f"repetition {number} of {options.repetitions}" if number else "warm-up")
            for name in generator.sample(list(contestants), len(contestants)):
                call = contestants[name]()
                gc.collect()
                synchronize(device)
                nanoseconds = timed(partial(run, call), clock)
                del call  # frees its memory before the next one
                if number:
                    times[name].append(nanoseconds)
    return times


@contextmanager
def _frozen_objects() -> Iterator[None]:
    """Exempt existing objects from garbage collection: there are a million of imported packages."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def ratios(times: Times, above: Sequence[str], below: Sequence[str]) -> list[float]:
    """For each repetition: the sum of the times of `above` divided by that of `below`."""
    sums = [[sum(row) for row in zip(*(times[name] for name in names), strict=True)] for names in (above, below)]
    return [one / other for one, other in zip(*sums, strict=True)]


def result(
    benchmark: str,
    options: Options,
    measure: Callable[[Options, Callable[[str], None]], Measured],
    say: Callable[[str], None],
) -> Result:
    """Run `measure` under stable conditions, and add provenance."""
    started, load, (commit, dirty) = provenance.now(), machine.load(), provenance.git()
    devices.select(torch.device(options.device))
    with machine.stable_conditions(options.threads):
        measured, hardware = measure(options, say), provenance.hardware(options.device)
    return Result(
        benchmark=benchmark,
        claim=measured.claim,
        options=options.without_folders(),
        rows=list(measured.rows),
        nanoseconds={name: list(times) for name, times in measured.times.items()},
        notes=dict(measured.notes),
        usage=dict(measured.usage),
        peak_flops=_peak_flops(options, hardware.name),
        sized=measured.sized,
        load=load,
        provenance=Provenance(
            hardware=hardware,
            packages=provenance.packages(),
            git_commit=commit,
            git_dirty=dirty,
            started=started,
            ended=provenance.now(),
        ),
    )


def _peak_flops(options: Options, card: str) -> float | None:
    """FLOP/s that utilization is relative to; None on the CPU, and for a card that is not known."""
    if torch.device(options.device).type != "cuda":
        return None
    if options.peak_tflops is not None:
        return options.peak_tflops * 1e12
    return device_usage.peak_flops(card, options.precision)
