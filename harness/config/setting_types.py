"""Types of values that several sections of a suite file have, with their bounds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

LABEL = r"^[A-Za-z0-9][A-Za-z0-9._+=,-]*$"
DEVICE = r"^(cpu|mps|cuda(:[0-9]+)?)$"
MAX_LABEL_LENGTH = 120

Label = Annotated[str, StringConstraints(pattern=LABEL, max_length=MAX_LABEL_LENGTH)]
"""Name of a row on the board: a `Name` that may also contain ``option=value,...``."""

Device = Annotated[str, StringConstraints(pattern=DEVICE)]

MOST_LAYERS, LARGEST_SIZE, LARGEST_NUMBER = 1000, 10**6, 10**9
"""Upper bounds of settings: larger values cannot be run, and some overflow."""

Positive = Annotated[int, Field(gt=0, le=LARGEST_NUMBER)]
Layers = Annotated[int, Field(gt=0, le=MOST_LAYERS)]
Size = Annotated[int, Field(gt=0, le=LARGEST_SIZE)]
Tokens = Annotated[int, Field(ge=8, le=LARGEST_SIZE)]
Epochs = Annotated[float, Field(gt=0, le=LARGEST_SIZE)]
Gigabytes = Annotated[float, Field(gt=0, le=LARGEST_NUMBER)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Rate = Annotated[float, Field(gt=0, le=1)]
WarmupRatio = Annotated[float, Field(ge=0, lt=1)]
WeightDecay = Annotated[float, Field(ge=0, le=LARGEST_SIZE)]
Threads = Positive | Literal["all"]
