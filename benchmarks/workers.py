"""Benchmark `workers`: a suite executed by one process, by two processes that share it, and by one with two threads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.measuring import Contestant, Measured, Row, interleaved, ratios
from benchmarks.options import Options
from harness.config.paths import shipped_suites
from harness.latency.timing_protocol import Call

CLAIM = (
    "Wall time of suites/laptop.yaml on a part of the data, from the start of the processes to the board, without"
    " latency: one process with one thread, divided by that of two processes with one thread each, which share the"
    " suite by claims, and by that of one process with two threads. Results folder and cache are empty at first."
)
ONE, TWO, THREADS = "1 process, 1 thread", "2 processes, 1 thread each", "1 process, 2 threads"
EXPECTED = 1.8
"""Expected speed-up of two processes on two cores: 0.9 of 2."""


@dataclass(frozen=True)
class Setup:
    """How a suite is executed: number of processes, and threads of each."""

    processes: int
    threads: int


SETUPS = {ONE: Setup(1, 1), TWO: Setup(2, 1), THREADS: Setup(1, 2)}


def measure(options: Options, say: Callable[[str], None]) -> Measured:
    with tempfile.TemporaryDirectory() as folder:
        contestants: dict[str, Contestant] = {
            name: partial(_prepared, Path(folder), setup, options) for name, setup in SETUPS.items()
        }
        times = interleaved(contestants, options, say=say)
    rows = [
        Row(what=f"{ONE} / {TWO}", ratios=ratios(times, [ONE], [TWO]), target=("at least", EXPECTED)),
        Row(what=f"{ONE} / {THREADS}", ratios=ratios(times, [ONE], [THREADS])),
    ]
    return Measured(CLAIM, rows, times)


def overrides(options: Options) -> list[str]:
    """The `--set` arguments: the tasks, methods and examples of the measurement."""
    examples = options.steps * options.batch
    sets = [
        f"sources.glue={options.data}",
        "tasks=[stsb, sst2]",
        "methods=[finetune, logit_kd, tinybert]",
        "seeds=[1, 2]",
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
    for name in ("results", "cache"):
        shutil.rmtree(folder / name, ignore_errors=True)
    return partial(execute, folder, setup, options)


def execute(folder: Path, setup: Setup, options: Options) -> None:
    """Run the suite in `folder`. Raises `RuntimeError` with the errors of a process that fails."""
    suite = str(shipped_suites()["laptop"])
    command = [sys.executable, "-m", "harness", "run", suite, "--quiet", "--workers", str(setup.processes)]
    command += ["--results", str(folder / "results"), *overrides(options)]
    environment = {**os.environ, "HARNESS_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": str(setup.threads)}
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(setup.processes)
    ]
    ends = [(process.communicate()[1], process.returncode) for process in processes]
    for errors, code in ends:
        if code:
            raise RuntimeError(f"`harness run` ended with {code}: {errors}")
