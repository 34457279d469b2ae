"""Latency records: the result of a latency measurement, with percentiles, paired ratios and their intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from harness.config.latency_schema import LatencySpec
from harness.storage.frozen_model import LARGEST, Count, FrozenModel
from harness.storage.records import SCHEMA_VERSION, Provenance

LEVEL = 0.95
"""Confidence level of intervals."""

MIN_CALLS_FOR_P90 = 10
"""Minimum number of calls for a 90th percentile; with fewer, it would be close to the maximum."""

MIN_CALLS_FOR_P99 = 662
"""Minimum number of calls for a 99th percentile: the least n for which, with 99 % probability, two or more calls are
above the true percentile, so that it does not depend on a single call (Wilks, 1941: 1 - 0.99^n - 0.01 n 0.99^(n-1) >=
0.99)."""

TASK: Literal["task"] = "task"
"""Used as a length: the lengths of the task's validation examples."""

Nanoseconds = Annotated[int, Field(gt=0, le=LARGEST)]

BeforeAndAfter = Annotated[list[float], Field(min_length=2, max_length=2)]

InputShape = tuple[int, int | Literal["task"]]
"""Batch size, and tokens of an example."""


class MeasuredModel(FrozenModel):
    """A measured model. `name` is unique in its record."""

    name: str
    role: Literal["teacher", "student", "model", "control"] = Field(
        description="control: a second copy of the model `of`, measured as a separate model"
    )
    of: str | None = None
    source: str = Field(description="the checkpoint that was measured")
    kind: str = Field(description="class of the model, such as BertForSequenceClassification")
    parameters: Count
    dtype: str
    peak_memory_bytes: Count | None = Field(
        None, description="of inference at the largest shape in eager, in a separate process; none: not measured"
    )


class Preparation(FrozenModel):
    """The preparation of a model for a backend, and how much its outputs differ from those of eager."""

    model: str
    backend: str
    seconds: float = Field(description="from the loaded model to its first call at every shape; in no timing")
    deviation: float | None = Field(
        None, description="maximum difference of an output from eager's; none: this is eager"
    )
    agreement: float | None = Field(
        None, description="with eager's predictions on validation examples: share of equal ones; for regression, r"
    )
    examples: int = Field(0, description="validation examples that it was computed on")
    score: float | None = Field(None, description="of the task, on these examples")
    eager_score: float | None = None


class TaskLengths(FrozenModel):
    """Statistics of the lengths that `task` stands for, in tokens."""

    examples: int
    mean: float
    median: float
    p90: float
    longest: int


class Timing(FrozenModel):
    """Times of a model in one backend at one shape. `nanoseconds[i]` was measured in round i, as of all models."""

    model: str
    backend: str
    batch_size: int
    length: int | Literal["task"]
    warmup: int = Field(description="calls before the first timed one")
    settled: bool = Field(description="whether the median was stable after the warm-up")
    nanoseconds: list[Nanoseconds] = Field(min_length=1)
    flops: int | None = Field(
        None, description="of one call, as torch counts them in eager; for the task's lengths, a mean over the batches"
    )

    @property
    def shape(self) -> InputShape:
        return self.batch_size, self.length

    def percentile(self, share: float) -> float:
        """Return a percentile in seconds, by linear interpolation. `share` is from 0 to 1."""
        ordered = sorted(self.nanoseconds)
        rank = share * (len(ordered) - 1)
        below, above = ordered[math.floor(rank)], ordered[math.ceil(rank)]
        return (below + (above - below) * (rank % 1)) / 1e9

    @property
    def iqr(self) -> float:
        """Interquartile range, in seconds."""
        return self.percentile(0.75) - self.percentile(0.25)

    @property
    def p90(self) -> float | None:
        """90th percentile in seconds; None if there are too few calls."""
        return self.percentile(0.9) if len(self.nanoseconds) >= MIN_CALLS_FOR_P90 else None

    @property
    def p99(self) -> float | None:
        """99th percentile in seconds; None if there are too few calls."""
        return self.percentile(0.99) if len(self.nanoseconds) >= MIN_CALLS_FOR_P99 else None


class LatencyRecord(FrozenModel):
    """A latency measurement by one process, on one machine and device."""

    schema_version: int = SCHEMA_VERSION
    key: str
    parts: dict[str, Any] = Field(description="parts of the key, and the names of the models")
    task: str | None = Field(None, description="task of the models' heads; None: each has the head of its checkpoint")
    settings: LatencySpec
    reference: str = Field(description="the model by whose times ratios divide")
    models: list[MeasuredModel]
    timings: list[Timing]
    not_measured: dict[str, str] = Field(default_factory=dict, description="student -> why")
    preparations: list[Preparation] = Field(default_factory=list, description="of each model in each backend")
    lengths: TaskLengths | None = Field(None, description="that `task` stands for, if it was measured")
    memory_shape: tuple[int, int] | None = Field(
        None, description="examples and tokens at which peak memory was measured"
    )
    clocks: dict[str, BeforeAndAfter] = Field(description="MHz before and after, if the machine reports them")
    temperatures: dict[str, BeforeAndAfter] = Field(
        default_factory=dict, description="degrees Celsius before and after"
    )
    foreign: list[str] = Field(default_factory=list, description="other processes on the accelerator")
    load: float | None = Field(description="load average over the minute before the start")
    provenance: Provenance

    @model_validator(mode="after")
    def _check_models(self) -> Self:
        names = [model.name for model in self.models]
        cells = [(t.backend, t.shape, t.model) for t in self.timings]
        if len(set(names)) != len(names) or self.reference not in names:
            raise ValueError(f"duplicate model in {names}, or the reference {self.reference!r} is not one of them")
        if len(set(cells)) != len(cells) or {model for *_, model in cells} - set(names):
            raise ValueError("duplicate timing, or a timing of an unknown model")
        if {model.of for model in self.models} - {None, *names}:
            raise ValueError("a control of an unknown model")
        return self

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        described = self.parts.get("models", [])
        if not isinstance(described, list) or not all(_has_identity(model) for model in described):
            raise ValueError("parts.models: expected a list of models with their name and identity")
        if not isinstance(self.packages, dict):
            raise ValueError("parts.packages: expected a mapping of packages to versions")
        return self

    @model_validator(mode="after")
    def _check_rounds(self) -> Self:
        measured = {(timing.backend, timing.shape) for timing in self.timings}
        for backend, shape in measured:
            group = self.at(backend, shape)
            if len({len(t.nanoseconds) for t in group}) > 1 or len(group) != len(self.models):
                raise ValueError(f"{backend} at {shape}: expected a time of every model in every round")
        shapes = [(size, length) for size in self.settings.batch_sizes for length in self.settings.lengths]
        planned = {(backend, shape) for backend in self.settings.backends for shape in shapes}
        if different := planned ^ measured:
            backend, shape = min(different, key=str)
            raise ValueError(f"{backend} at {shape}: in the settings but not measured, or the reverse")
        return self

    @property
    def packages(self) -> dict[str, str | None]:
        """The versions of the packages that the backends use."""
        packages: dict[str, str | None] = self.parts.get("packages", {})
        return packages

    @property
    def identities(self) -> dict[str, Any]:
        """Model -> what its latency depends on: the size of a suite's model, or the fingerprint of a checkpoint."""
        return {model["name"]: model["identity"] for model in self.parts.get("models", ())}

    def only(self, names: Container[str]) -> LatencyRecord:
        """Return a copy with the named models alone, and the controls of these."""
        models = [model for model in self.models if (model.of or model.name) in names]
        remaining = {model.name for model in models}
        timings = [timing for timing in self.timings if timing.model in remaining]
        return self.model_copy(update={"models": models, "timings": timings})

    def with_names(self, names: Sequence[str]) -> LatencyRecord:
        """Return a copy in which the models of `parts` have these names, in their order."""
        return self.renamed(dict(zip((model["name"] for model in self.parts["models"]), names, strict=True)))

    def renamed(self, names: Mapping[str, str]) -> LatencyRecord:
        """Return a copy in which models have other names: old -> new. A control has its name from its original."""
        controls = {m.name: names[m.of] + m.name.removeprefix(m.of) for m in self.models if m.of and m.of in names}
        new = {**names, **controls}

        def named(name: str) -> str:
            return new.get(name, name)

        described = [{**model, "name": named(model["name"])} for model in self.parts.get("models", ())]
        return self.model_copy(
            update={
                "parts": {**self.parts, "models": described},
                "reference": named(self.reference),
                "models": [
                    m.model_copy(update={"name": named(m.name), "of": m.of and named(m.of)}) for m in self.models
                ],
                "timings": [t.model_copy(update={"model": named(t.model)}) for t in self.timings],
                "preparations": [p.model_copy(update={"model": named(p.model)}) for p in self.preparations],
                "not_measured": {named(name): reason for name, reason in self.not_measured.items()},
            }
        )

    @property
    def backends(self) -> list[str]:
        return list(dict.fromkeys(timing.backend for timing in self.timings))

    @property
    def shapes(self) -> list[InputShape]:
        """Shapes, sorted by batch size and length; `task` is last."""
        return sorted({timing.shape for timing in self.timings}, key=lambda s: (s[0], s[1] == TASK, s[1]))

    def at(self, backend: str, shape: InputShape) -> list[Timing]:
        """Return the timings of all models in one backend at one shape, which may be compared."""
        return [timing for timing in self.timings if (timing.backend, timing.shape) == (backend, shape)]

    def ratio(self, timing: Timing) -> Ratio:
        """Return the ratio to the reference's times in the same rounds; for a control, to those of its original."""
        of = next(model.of for model in self.models if model.name == timing.model)
        other = next(t for t in self.at(timing.backend, timing.shape) if t.model == (of or self.reference))
        return paired_ratio(timing.nanoseconds, other.nanoseconds)


def _has_identity(model: object) -> bool:
    return isinstance(model, dict) and isinstance(model.get("name"), str) and "identity" in model


@dataclass(frozen=True)
class Ratio:
    """The median of paired ratios and its 95 % interval; None for too few rounds."""

    median: float
    low: float | None
    high: float | None

    @property
    def excludes_one(self) -> bool:
        """Whether there is an interval and it does not contain 1."""
        return self.low is not None and self.high is not None and not self.low <= 1 <= self.high

    @property
    def inverse(self) -> Ratio:
        """The inverse ratio: a ratio of times as a speed-up."""
        high = None if self.low is None else 1 / self.low
        low = None if self.high is None else 1 / self.high
        return Ratio(1 / self.median, low, high)


def paired_ratio(times: Sequence[int], others: Sequence[int]) -> Ratio:
    """Return the ratio of the times of two models, paired by round, so that disturbances of a round cancel."""
    ratios = [time / other for time, other in zip(times, others, strict=True)]
    low, high = median_interval(ratios) or (None, None)
    return Ratio(statistics.median(ratios), low, high)


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return a distribution-free confidence interval of the median, at level 95 %; None for fewer than six values.

    The number of values below the true median is binomial(n, 1/2), so the interval from the k-th smallest to the k-th
    largest value misses it with probability 2 P(X < k); k is the largest for which that is at most 5 %. The values are
    assumed to be independent.
    """
    n, outside = len(values), 0.0
    k = 0
    while (outside := outside + 2 * math.comb(n, k) / 2**n) <= 1 - LEVEL:
        k += 1
    ordered = sorted(values)
    return (ordered[k - 1], ordered[n - k]) if k else None
