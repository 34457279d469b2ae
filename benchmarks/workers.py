"""Benchmark `workers`: a suite executed by one process, by two processes that share it, and by one with two threads.

Two processes that execute the suite each for itself show how much more work the machine does in the same time.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.measuring import Contestant, Measured, Row, interleaved, ratios
from benchmarks.options import Options
from harness.config.shipped_suites import shipped_suites
from harness.latency.timing_protocol import Call

CLAIM = (
    "Wall time of suites/laptop.yaml on a part of the data, without latency: one process with one thread, divided by"
    " that of two processes with one thread each, which share the suite by claims, and by that of one process with two"
    " threads. The throughput of the machine is twice the time of one process, divided by that of two processes that"
    " execute the whole suite each, in folders of their own: no way to share the suite is faster. Results folders and"
    " caches are empty at first. The clock runs from the first job to the board: the start of a process, some seconds"
    " of imports and planning, is not counted, since it does not grow with the suite."
)
ONE, TWO, THREADS = "1 process, 1 thread", "2 processes, 1 thread each", "1 process, 2 threads"
APART = "2 processes, each for itself"
EXPECTED = 0.9
"""Expected speed-up of two processes, as a fraction of the throughput of the machine."""


@dataclass(frozen=True)
class Setup:
    """How a suite is executed: number of processes, threads of each, and whether they share the work."""

    processes: int
    threads: int
    shared: bool = True


SETUPS = {ONE: Setup(1, 1), TWO: Setup(2, 1), THREADS: Setup(1, 2), APART: Setup(2, 1, shared=False)}


def measure(options: Options, say: Callable[[str], None]) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        contestants: dict[str, Contestant] = {
            name: partial(_prepared, Path(folder) / "suite", setup, options) for name, setup in SETUPS.items()
        }
        times = interleaved(contestants, options, warm_up=False, say=say)  # each call is new processes
    rows = [
        Row(what=f"{ONE} / {TWO}", ratios=ratios(times, [ONE], [TWO])),
        Row(what=f"{ONE} / {THREADS}", ratios=ratios(times, [ONE], [THREADS])),
        Row(what="throughput of the machine", ratios=[2 * ratio for ratio in ratios(times, [ONE], [APART])]),
        Row(
            what=f"{TWO}: fraction of that throughput",
            ratios=[ratio / 2 for ratio in ratios(times, [APART], [TWO])],
            target=("at least", EXPECTED),
        ),
    ]
    return Measured(CLAIM, rows, times)


def overrides(options: Options) -> list[str]:
    """The `--set` arguments: the tasks, methods and examples of the measurement."""
    examples = options.steps * options.batch
    sets = [
        f"sources.glue={options.data}",
        "tasks=[stsb, sst2]",
        "methods=[finetune, logit_kd, tinybert]",
        "seeds=[1]",
        "teachers.minilm6.epochs=1",
        "teachers.again=null",
        "tuning=null",
        "latency=null",
        f"device={options.device}",
        f"training.precision={options.precision}",
        f"training.batch_size={options.batch}",
        "training.epochs=1",
        f"training.limit={{train: {examples}, validation: {options.batch}}}",
    ]
    if options.model:
        sets.append(f"teachers.minilm6.model={options.model}")
    return [argument for override in sets for argument in ("--set", override)]


def _prepared(folder: Path, setup: Setup, options: Options) -> Call:
    """Start the processes in `folder`, and suspend each before its first job. Returns a call that executes the jobs."""
    shutil.rmtree(folder, ignore_errors=True)
    folders = [folder / str(number if not setup.shared else 0) for number in range(setup.processes)]
    for each in folders:
        each.mkdir(parents=True, exist_ok=True)
    started = [_Worker(each, number, setup, options) for number, each in enumerate(folders)]
    for worker in started:
        worker.suspend_at_first_job()

    def execute() -> None:
        for worker in started:
            worker.resume()
        for worker in started:
            worker.wait()

    return execute


class _Worker:
    """A `harness run` process. Raises `RuntimeError` with its errors if it fails."""

    def __init__(self, folder: Path, number: int, setup: Setup, options: Options) -> None:
        suite = str(shipped_suites()["laptop"])
        workers = setup.processes if setup.shared else 1
        command = [sys.executable, "-m", "harness", "run", suite, "--json-logs", "--workers", str(workers)]
        command += ["--results", str(folder / "results"), *overrides(options)]
        environment = {**os.environ, "HARNESS_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": str(setup.threads)}
        self.events, self.errors = (folder / f"{name}-{number}.txt" for name in ("events", "errors"))
        with self.events.open("wb") as events, self.errors.open("wb") as errors:
            self.process = subprocess.Popen(command, env=environment, stdout=events, stderr=errors)

    def suspend_at_first_job(self) -> None:
        while '"suite_started"' not in self.events.read_text(encoding="utf-8"):
            if self.process.poll() is not None:
                self.wait()
            time.sleep(0.005)
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def wait(self) -> None:
        if code := self.process.wait():
            raise RuntimeError(f"`harness run` ended with {code}: {self.errors.read_text(encoding='utf-8')}")
