"""The record of a latency measurement, and what its raw times say: percentiles, paired ratios and their intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from harness.config.schema import LatencySpec
from harness.storage.frozen_model import FrozenModel
from harness.storage.records import SCHEMA_VERSION, Provenance

LEVEL = 0.95
"""Of every interval."""

MIN_CALLS_FOR_P90 = 10
"""Calls; of fewer, none lies beyond their 90th percentile, and it would be little else than their maximum."""

MIN_CALLS_FOR_P99 = 662
"""Calls; the fewest of which, with 99 % certainty, two or more lie beyond the true 99th percentile, so that it is not
told by a single one (Wilks, 1941: 1 - 0.99^n - 0.01 n 0.99^(n-1) >= 0.99). An interval that holds it with 95 % exists
from 368 calls on (0.99^368 < 0.025), but begins with their maximum as its upper end."""

TASK: Literal["task"] = "task"
"""In the place of a length: as many tokens as the task's validation examples have."""

InputShape = tuple[int, int | Literal["task"]]
"""Examples of a batch, and tokens of an example."""


class MeasuredModel(FrozenModel):
    """A model that was timed. `name` is unique in its record."""

    name: str
    role: Literal["teacher", "student", "model", "control"] = Field(
        description="control: a second copy of the model `of`, timed as if it were another"
    )
    of: str | None = None
    source: str = Field(description="which checkpoint was measured")
    kind: str = Field(description="the class that ran, such as BertForSequenceClassification")
    parameters: int
    dtype: str
    peak_memory_bytes: int | None = Field(
        None, description="of inference at the largest shape in eager, in a process of its own; none: not measured"
    )


class Preparation(FrozenModel):
    """What it took to have a model in a backend, and how far it computes there what eager does."""

    model: str
    backend: str
    seconds: float = Field(description="from the loaded model through its first call at every shape; never in a time")
    deviation: float | None = Field(None, description="the most by which an output differs from eager's; none: it is")
    agreement: float | None = Field(
        None, description="of predictions with eager's on validation examples: the share that is equal; of numbers r"
    )
    examples: int = Field(0, description="that it was told by")
    score: float | None = Field(None, description="the task's, on these examples")
    eager_score: float | None = None


class TaskLengths(FrozenModel):
    """The lengths that `task` stands for, in tokens."""

    examples: int
    mean: float
    median: float
    p90: float
    longest: int


class Timing(FrozenModel):
    """A model in one backend at one shape. `nanoseconds[i]` was taken in round i, like that of every other model."""

    model: str
    backend: str
    batch_size: int
    length: int | Literal["task"]
    warmup: int = Field(description="calls before the first that counts")
    settled: bool = Field(description="whether the median had settled by then")
    nanoseconds: list[int] = Field(min_length=1)
    flops: int | None = Field(
        None, description="of one call, as torch counts them in eager; of the task's lengths a mean over its batches"
    )

    @property
    def shape(self) -> InputShape:
        return self.batch_size, self.length

    def percentile(self, share: float) -> float:
        """In seconds, linear between the two nearest calls."""
        ordered = sorted(self.nanoseconds)
        place = share * (len(ordered) - 1)
        below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
        return (below + (above - below) * (place % 1)) / 1e9

    @property
    def iqr(self) -> float:
        """From the first to the third quartile, in seconds."""
        return self.percentile(0.75) - self.percentile(0.25)

    @property
    def p90(self) -> float | None:
        """In seconds; None where there are too few calls to tell."""
        return self.percentile(0.9) if len(self.nanoseconds) >= MIN_CALLS_FOR_P90 else None

    @property
    def p99(self) -> float | None:
        """In seconds; None where there are too few calls to tell."""
        return self.percentile(0.99) if len(self.nanoseconds) >= MIN_CALLS_FOR_P99 else None


class LatencyRecord(FrozenModel):
    """One measurement: one process, one machine, one device."""

    schema_version: int = SCHEMA_VERSION
    key: str
    parts: dict[str, Any] = Field(description="what the key is a hash of")
    task: str | None = Field(None, description="whose head the models have; None: each has the head it came with")
    settings: LatencySpec
    reference: str = Field(description="the model that the others' times are divided by")
    models: list[MeasuredModel]
    timings: list[Timing]
    not_measured: dict[str, str] = Field(default_factory=dict, description="student -> why")
    preparations: list[Preparation] = Field(default_factory=list, description="of each model in each backend")
    lengths: TaskLengths | None = Field(None, description="what `task` stands for, where it was measured")
    memory_shape: tuple[int, int] | None = Field(None, description="examples and tokens that peak memory was taken at")
    clocks: dict[str, list[float]] = Field(description="MHz before and after, where the machine tells them")
    temperatures: dict[str, list[float]] = Field(default_factory=dict, description="degrees Celsius, likewise")
    foreign: list[str] = Field(default_factory=list, description="other processes that were seen on the accelerator")
    load: float | None = Field(description="processes that wanted to run when it began, a mean over one minute")
    provenance: Provenance

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [model.name for model in self.models]
        cells = [(t.backend, t.shape, t.model) for t in self.timings]
        if len(set(names)) != len(names) or self.reference not in names:
            raise ValueError(f"models {names} are not distinct, or lack the reference {self.reference!r}")
        if len(set(cells)) != len(cells) or {model for *_, model in cells} - set(names):
            raise ValueError("a timing stands twice, or is of no model of the record")
        for backend, shape in {cell[:2] for cell in cells}:
            group = self.at(backend, shape)
            if len({len(t.nanoseconds) for t in group}) > 1 or len(group) != len(names):
                raise ValueError(f"{backend} at {shape}: every model is timed in every round")
        return self

    @property
    def identities(self) -> dict[str, Any]:
        """Model -> what its latency depends on: of a suite's its size, of a checkpoint its fingerprint."""
        return {model["name"]: model["identity"] for model in self.parts.get("models", ())}

    def only(self, names: Container[str]) -> LatencyRecord:
        """The same without all other models; a control goes with the model that it is a copy of."""
        models = [model for model in self.models if (model.of or model.name) in names]
        left = {model.name for model in models}
        timings = [timing for timing in self.timings if timing.model in left]
        return self.model_copy(update={"models": models, "timings": timings})

    @property
    def backends(self) -> list[str]:
        return list(dict.fromkeys(timing.backend for timing in self.timings))

    @property
    def shapes(self) -> list[InputShape]:
        """By batch size, and by length with the task's own last."""
        return sorted({timing.shape for timing in self.timings}, key=lambda s: (s[0], s[1] == TASK, s[1]))

    def at(self, backend: str, shape: InputShape) -> list[Timing]:
        """The timings of all models that may be compared: of one backend at one shape."""
        return [timing for timing in self.timings if (timing.backend, timing.shape) == (backend, shape)]

    def ratio(self, timing: Timing) -> Ratio:
        """To the reference's time in the same round; the control's to that of the model that it is a copy of."""
        of = next(model.of for model in self.models if model.name == timing.model)
        other = next(t for t in self.at(timing.backend, timing.shape) if t.model == (of or self.reference))
        return paired_ratio(timing.nanoseconds, other.nanoseconds)


@dataclass(frozen=True)
class Ratio:
    """The median of paired ratios and its 95 % interval; too few rounds have none."""

    median: float
    low: float | None
    high: float | None

    @property
    def excludes_one(self) -> bool:
        return self.low is not None and self.high is not None and not self.low <= 1 <= self.high

    @property
    def inverse(self) -> Ratio:
        """A ratio of times as a speed-up."""
        high = None if self.low is None else 1 / self.low
        low = None if self.high is None else 1 / self.high
        return Ratio(1 / self.median, low, high)


def paired_ratio(times: Sequence[int], others: Sequence[int]) -> Ratio:
    """Of two models timed in the same rounds: what disturbed a whole round cancels."""
    ratios = [time / other for time, other in zip(times, others, strict=True)]
    low, high = median_interval(ratios) or (None, None)
    return Ratio(statistics.median(ratios), low, high)


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """An interval that holds the median with at least 95 %, whatever the distribution: two order statistics.

    The number of values below the true median is binomial(n, 1/2), so the k-th smallest and k-th largest value enclose
    it but for 2 P(X < k); k is the largest that keeps this within 5 %. None for fewer than six values, which no k does.
    Like any such interval it takes the values for independent.
    """
    n, outside = len(values), 0.0
    k = 0
    while (outside := outside + 2 * math.comb(n, k) / 2**n) <= 1 - LEVEL:
        k += 1
    ordered = sorted(values)
    return (ordered[k - 1], ordered[n - k]) if k else None
