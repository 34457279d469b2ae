"""Latency records made up for tests: teacher base, student small (or big too), and a second copy of small."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.config.latency_schema import LatencySpec
from harness.storage.latency_records import LatencyRecord, MeasuredModel, Timing
from harness.storage.records import Hardware, ModelSize
from tests.support.results_factory import CPU, provenance, size

TIMES = {"base": 8_000_000, "small": 2_000_000, "small (second copy)": 2_000_000}
SETTINGS = LatencySpec(batch_sizes=[1, 8], lengths=[32], backends=["eager"], rounds=10)


def timing(
    model: str, shape: tuple[int, int] = (1, 32), nanoseconds: Sequence[int] = (5,) * 10, **changes: Any
) -> Timing:
    given: dict[str, Any] = {
        "model": model,
        "backend": "eager",
        "batch_size": shape[0],
        "length": shape[1],
        "warmup": 10,
        "settled": True,
        "nanoseconds": list(nanoseconds),
    }
    return Timing(**(given | changes))


def latency_record(
    key: str = "k1",
    *,
    times: Mapping[str, int] | None = None,
    hardware: Hardware = CPU,
    settings: LatencySpec = SETTINGS,
    rounds: int = 10,
    ended: str = "2026-01-01T00:01:00+00:00",
    sizes: Mapping[str, ModelSize] | None = None,
    **changes: Any,
) -> LatencyRecord:
    """A record in which each model takes `times` at batch 1, and as much for each example; `sizes` are those of models
    that are others than the made-up results are of; `changes` replace fields."""
    times, sizes = times or TIMES, sizes or {}
    roles = {"base": "teacher", "big": "student", "small": "student", "small (second copy)": "control"}
    models = [
        MeasuredModel(
            name=name,
            role=roles[name],
            of="small" if roles[name] == "control" else None,
            source=f"checkpoint of {name.split()[0]}",
            kind="BertForSequenceClassification",
            parameters=100_000_000 if name == "base" else 10_000_000,
            dtype="float32",
        )
        for name in times
    ]
    timings = [
        timing(name, (size, length), [time * size] * rounds, backend=backend)
        for backend in settings.backends
        for size in settings.batch_sizes
        for length in settings.lengths
        for name, time in times.items()
    ]
    given: dict[str, Any] = {
        "key": key,
        "parts": {
            "packages": {"torch": "2.13.0"},
            "models": [
                {"name": m.name, "role": m.role, "identity": sizes.get(m.name, size(m.of or m.name)).model_dump()}
                for m in models
            ],
        },
        "task": "sst2",
        "settings": settings,
        "reference": "base",
        "models": models,
        "timings": timings,
        "clocks": {"processor": [2000.0, 2100.0]},
        "load": 0.5,
        "provenance": provenance(hardware, ended=ended),
    }
    return LatencyRecord(**(given | changes))
