"""Options of the benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from harness.config.setting_types import DEVICE

Size = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*x[1-9][0-9]*$")]
"""Layers x width of a BERT: ``12x768``."""

Count = Annotated[int, Field(gt=0)]


class Options(BaseModel):
    """Options of the command line: see `python -m benchmarks --help`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    teacher: Size
    students: Annotated[list[Size], Field(min_length=1)]
    runs: Count
    batch: Count
    length: Annotated[int, Field(ge=8, le=512)]
    steps: Count
    repetitions: Count
    threads: Count | None
    seed: int
    device: Annotated[str, StringConstraints(pattern=DEVICE)]
    precision: Literal["fp32", "bf16"] = "fp32"
    data: str
    tokenizer: str | None
    model: str | None = None
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    peak_tflops: Annotated[float, Field(gt=0)] | None = None

    def without_folders(self) -> Options:
        """The same with the names of local folders instead of their paths, which say nothing on other machines."""
        named = {
            key: Path(value).name
            for key in ("data", "tokenizer", "model")
            if (value := getattr(self, key)) and Path(value).is_dir()
        }
        return self.model_copy(update=named)

    @property
    def expected(self) -> bool:
        """Whether the sizes are those for which expected ratios are defined."""
        return (self.teacher, self.runs, self.length) == ("12x768", 6, 128)
