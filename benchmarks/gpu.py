"""`python -m benchmarks.gpu`: the benchmarks of training on a GPU, within a time limit. What is finished is kept."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmarks.__main__ import HERE, Name, measure, option_errors

if TYPE_CHECKING:
    from benchmarks.options import Options

COMPARISONS = {Name.FLOOR: 2, Name.COHORT: 1, Name.TEXTBREWER: 6, Name.CACHED: 2}
"""Benchmark -> number of comparisons per student, which share its time. The last one runs whole suites, which takes
time whatever its share is."""

PREPARATION = 0.3
"""Share of a benchmark's time for data, models, checks and the use of the device."""


def run(
    minutes: Annotated[float, typer.Option(help="time for all benchmarks")] = 6.0,
    device: Annotated[str, typer.Option(help="cuda, cuda:1; cpu to try the command")] = "cuda",
    precision: Annotated[str, typer.Option(help="fp32, bf16")] = "bf16",
    teacher: Annotated[str, typer.Option(help="layers x width")] = "12x768",
    students: Annotated[str, typer.Option(help="layers x width, comma-separated")] = "4x312,6x768",
    batch: Annotated[int, typer.Option(help="batch size")] = 32,
    length: Annotated[int, typer.Option(help="tokens per example; the maximum for SST-2")] = 128,
    steps: Annotated[int, typer.Option(help="training steps per run")] = 10,
    data: Annotated[str, typer.Option(help="hub id or folder of GLUE, for SST-2")] = "nyu-mll/glue",
    peak_tflops: Annotated[float | None, typer.Option(help="peak TFLOP/s of the GPU; default: by its name")] = None,
    out: Annotated[Path, typer.Option(help="output folder")] = HERE / "results",
) -> None:
    """Run floor, cohort, cached and textbrewer for each student, and write each result when it is finished.

    A benchmark gets an equal share of the time that is left, and makes at most seven repetitions in it. One that has
    started is finished, so all may take a little longer. One that cannot start before the time is over is left out, and
    named. The exit code is 1 if one was left out or failed.
    """
    if Path(data).is_dir():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before huggingface_hub is imported
    from harness.api.errors import UserError

    names = students.split(",")
    given = _options(locals())
    end, missing = time.monotonic() + 60 * minutes, list[str]()
    units = [(benchmark, size) for benchmark in COMPARISONS for size in names]
    for number, (benchmark, size) in enumerate(units):
        left = end - time.monotonic()
        if left <= 0:
            missing.append(f"{benchmark} {size}: the time is over")
            continue
        share = (1 - PREPARATION) * left / (len(units) - number)
        limited = {"students": [size], "max_seconds": share / COMPARISONS[benchmark]}
        try:
            measured = measure(benchmark, given.model_copy(update=limited))
        except (UserError, RuntimeError, AssertionError) as error:
            missing.append(f"{benchmark} {size}: {type(error).__name__}: {error}")
            continue
        measured.write(out)
        print(measured.markdown(), flush=True)
    for line in missing:
        print(f"missing: {line}", file=sys.stderr)
    raise typer.Exit(1 if missing else 0)


def _options(arguments: Mapping[str, Any]) -> Options:
    """The options of all benchmarks from the arguments of `run`. Raises `BadParameter` for an invalid one."""
    import torch
    from pydantic import ValidationError

    from benchmarks.options import Options
    from harness.api.errors import UserError
    from harness.planning import devices

    fixed = {"runs": 6, "repetitions": 7, "threads": None, "seed": 1, "tokenizer": None}
    chosen = {name: value for name, value in arguments.items() if name in Options.model_fields}
    try:
        options = Options.model_validate({**fixed, **chosen, "students": arguments["names"]})
        devices.refuse_absent(options.device)
        devices.select(torch.device(options.device))
    except ValidationError as error:
        raise typer.BadParameter(option_errors(error)) from error
    except UserError as error:
        raise typer.BadParameter(str(error)) from error
    return options


if __name__ == "__main__":
    typer.run(run)
