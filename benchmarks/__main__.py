"""`python -m benchmarks NAME`: runs a benchmark, prints the ratios, and writes them to files."""

from __future__ import annotations

import importlib
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pydantic import ValidationError

    from benchmarks.measuring import Result
    from benchmarks.options import Options

HERE = Path(__file__).parent


class Name(StrEnum):
    """The benchmarks, one module each."""

    FLOOR = "floor"
    COHORT = "cohort"
    CACHED = "cached"
    FUSED = "fused"
    BATCHING = "batching"
    WORKERS = "workers"
    TEXTBREWER = "textbrewer"
    STARTUP = "startup"


MODULES = {Name.TEXTBREWER: "brewer"}
"""Benchmark -> module, where the names differ: the module must not shadow the package textbrewer."""


def run(
    benchmark: Annotated[Name, typer.Argument(help="see benchmarks/README.md")],
    teacher: Annotated[str, typer.Option(help="layers x width")] = "12x768",
    students: Annotated[str, typer.Option(help="layers x width, comma-separated")] = "4x312,6x768",
    runs: Annotated[int, typer.Option(help="runs per cohort; the benchmark `cohort` uses 1, 2, 4 and 6")] = 6,
    batch: Annotated[int, typer.Option(help="batch size")] = 32,
    length: Annotated[int, typer.Option(help="tokens per example; the maximum for SST-2")] = 128,
    steps: Annotated[int, typer.Option(help="training steps per run")] = 4,
    repetitions: Annotated[int, typer.Option(help="repetitions; fewer than 6 give no 95 % interval")] = 7,
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: torch's")] = None,
    seed: Annotated[int, typer.Option(help="seed of weights, data and order")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, mps")] = "cpu",
    precision: Annotated[str, typer.Option(help="precision of forward passes: fp32, bf16")] = "fp32",
    data: Annotated[str, typer.Option(help="hub id or folder of GLUE, for SST-2")] = "nyu-mll/glue",
    tokenizer: Annotated[
        str | None, typer.Option(help="tokenizer for SST-2: hub id or folder; default: words of the training texts")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="`workers`: the teacher, a hub id or folder; default: that of suites/laptop.yaml. `startup`: a folder,"
            " with a folder of GLUE in --data; default: none"
        ),
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(help="seconds after which no further repetition of a comparison starts")
    ] = None,
    peak_tflops: Annotated[
        float | None, typer.Option(help="peak TFLOP/s of the GPU, for FLOP utilization; default: by its name")
    ] = None,
    out: Annotated[Path, typer.Option(help="output folder")] = HERE / "results",
) -> None:
    """Run a benchmark, print the ratios, and write them to OUT/BENCHMARK-STUDENTS.json and .md."""
    import torch
    from pydantic import ValidationError

    from benchmarks.options import Options
    from harness.api.errors import UserError
    from harness.planning import devices

    arguments = {key: value for key, value in locals().items() if key in Options.model_fields}
    try:
        options = Options.model_validate({**arguments, "students": students.split(",")})
        devices.refuse_absent(options.device)
        devices.select(torch.device(options.device))
        measured = measure(benchmark, options)
    except ValidationError as error:
        raise typer.BadParameter(option_errors(error)) from error
    except UserError as error:
        raise typer.BadParameter(str(error)) from error
    paths = measured.write(out)
    print(measured.markdown())
    _say(f"wrote {', '.join(map(str, paths))}")


def option_errors(error: ValidationError) -> str:
    """The invalid options, each with what was found."""
    return "; ".join(f"--{e['loc'][0]} {e['input']}: {e['msg']}" for e in error.errors())


def measure(benchmark: Name, options: Options) -> Result:
    """Run a benchmark; say on stderr what it does. Raises `UserError` if it cannot run."""
    from benchmarks.measuring import result

    module = importlib.import_module(f"benchmarks.{MODULES.get(benchmark, benchmark)}")
    return result(benchmark, options, module.measure, _say)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    typer.run(run)
