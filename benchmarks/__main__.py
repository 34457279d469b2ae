"""`python -m benchmarks NAME`: measure, print the ratios, write them down."""

from __future__ import annotations

import importlib
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

HERE = Path(__file__).parent


class Name(StrEnum):
    """One module each."""

    FLOOR = "floor"
    COHORT = "cohort"
    CACHED = "cached"
    BATCHING = "batching"
    TEXTBREWER = "textbrewer"


MODULES = {Name.TEXTBREWER: "brewer"}
"""Where a module may not have the benchmark's name."""


def run(
    benchmark: Annotated[Name, typer.Argument(help="see benchmarks/README.md")],
    teacher: Annotated[str, typer.Option(help="layers x width")] = "12x768",
    students: Annotated[str, typer.Option(help="layers x width, separated by commas")] = "4x312,6x768",
    runs: Annotated[int, typer.Option(help="of a cohort; the benchmark cohort takes 1, 2, 4 and 6")] = 6,
    batch: Annotated[int, typer.Option(help="examples of a batch")] = 32,
    length: Annotated[int, typer.Option(help="tokens of an example; with real lengths: at most")] = 128,
    steps: Annotated[int, typer.Option(help="batches of a run")] = 4,
    repetitions: Annotated[int, typer.Option(help="of everything; below 6: no 95 % interval")] = 7,
    threads: Annotated[int | None, typer.Option(help="of the processor; default: as many as torch takes")] = None,
    seed: Annotated[int, typer.Option(help="of weights, data and order")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, mps")] = "cpu",
    precision: Annotated[str, typer.Option(help="fp32, bf16: of all forward passes")] = "fp32",
    data: Annotated[str, typer.Option(help="where SST-2's lengths are from: hub id or folder")] = "nyu-mll/glue",
    tokenizer: Annotated[
        str | None, typer.Option(help="for those: hub id or folder; default: one made of the training texts")
    ] = None,
    out: Annotated[Path, typer.Option(help="folder of the .json and .md to write")] = HERE / "results",
) -> None:
    """Measure, print the ratios, and write them to OUT/BENCHMARK-STUDENTS.json and .md."""
    from pydantic import ValidationError

    from benchmarks.measuring import result
    from benchmarks.options import Options
    from harness.api.errors import UserError

    given = {key: value for key, value in locals().items() if key in Options.model_fields}
    try:
        options = Options.model_validate({**given, "students": students.split(",")})
        found = result(
            benchmark, options, importlib.import_module(f"benchmarks.{MODULES.get(benchmark, benchmark)}").measure, _say
        )
    except ValidationError as error:
        raise typer.BadParameter(
            "; ".join(f"--{e['loc'][0]} {e['input']}: {e['msg']}" for e in error.errors())
        ) from error
    except UserError as error:
        raise typer.BadParameter(str(error)) from error
    written = found.write(out)
    print(found.markdown())
    _say(f"written: {', '.join(map(str, written))}")


def _say(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    typer.run(run)
