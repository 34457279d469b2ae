"""Benchmark `startup`: the CPU time of commands that train nothing, as multiples of ``python -c "import torch"``."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.measuring import Contestant, Measured, Row, Target, interleaved, ratios
from benchmarks.options import Options
from harness.api.errors import UserError
from harness.latency.timing_protocol import Call

CLAIM = (
    "CPU time (user and system, one thread) of commands that train nothing, divided by that of `python -c 'import"
    " torch'`. The cache is warm: each command has run before. `run` finds every run of a suite with one task and two"
    " methods done, and its report unchanged."
)
TORCH = "import torch"

SMALL = (
    "quick",
    *("--set", "tasks=[synthetic_sentiment]"),
    *("--set", "methods=[finetune, logit_kd]"),
    *("--set", "seeds=[1]"),
    *("--set", "teachers.base.floor=null"),
    *("--set", "training.limit={train: 64, validation: 32}"),
    *("--set", "latency=null"),
)
"""A suite that is trained in seconds."""

COMMANDS: Mapping[str, tuple[Sequence[str], Target]] = {
    "--help": (["--help"], ("at most", 0.25)),
    "list methods": (["list", "methods"], ("at most", 0.6)),
    "list tasks": (["list", "tasks"], ("at most", 0.5)),
    "validate quick": (["validate", "quick"], ("at most", 0.6)),
    "plan quick": (["plan", "quick"], ("at most", 2)),
    "run, nothing to do": (["run", *SMALL, "--quiet"], ("at most", 3)),
}
"""Title -> arguments of `harness`, and the expected multiple."""

GLUE = "plan glue"
GLUE_TASKS = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte")
GLUE_TARGET: Target = ("at most", 3)


def measure(options: Options, say: Callable[[str], None]) -> Measured:
    commands = {**COMMANDS, **({GLUE: (_glue(options.data, options.model), GLUE_TARGET)} if options.model else {})}
    with tempfile.TemporaryDirectory() as folder:
        python = [sys.executable, "-c", "import torch"]
        harness = {title: [sys.executable, "-m", "harness", *arguments] for title, (arguments, _) in commands.items()}
        calls: dict[str, Contestant] = {
            title: partial(_prepared, command, Path(folder)) for title, command in {TORCH: python, **harness}.items()
        }
        for title, prepare in calls.items():
            say(f"filling the cache: {title}")
            prepare()()
        times = interleaved(calls, options, say=say, clock=cpu_of_children)
    rows = [
        Row(what=f"{title} / {TORCH}", ratios=ratios(times, [title], [TORCH]), target=target)
        for title, (_, target) in commands.items()
    ]
    return Measured(CLAIM, rows, times, sized=False)


def _glue(data: str, model: str) -> Sequence[str]:
    """Arguments of a plan of suites/glue.yaml with data and teacher from folders, for the tasks in the folder.

    Raises:
        UserError: one of them is not such a folder.
    """
    folder, checkpoint = (Path(path).expanduser().resolve() for path in (data, model))
    tasks = [name for name in GLUE_TASKS if (folder / name).is_dir()]
    if not tasks:
        raise UserError(
            f"--data {data}: no folder with data of GLUE, which `startup` needs with --model; it has a folder for each"
            f" task: {', '.join(GLUE_TASKS)}"
        )
    if not checkpoint.is_dir():
        raise UserError(f"--model {model}: no such folder; `startup` takes no hub id")
    sets = [
        f"sources.glue={folder}",
        f"tasks=[{', '.join(tasks)}]",
        f"teachers={{base: {{model: {checkpoint}}}}}",
        "students={6x768: {layers: 6, init: uniform}}",
        "latency=null",
    ]
    return ["plan", "glue", *(argument for override in sets for argument in ("--set", override))]


def cpu_of_children() -> int:
    """Nanoseconds of CPU time of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round((usage.ru_utime + usage.ru_stime) * 1e9)


def _prepared(command: Sequence[str], folder: Path) -> Call:
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        "OMP_NUM_THREADS": "1",
        "HARNESS_CACHE": str(folder / "cache"),
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),  # compiled by the first call, wherever the packages are
    }

    def call() -> None:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")

    return call
