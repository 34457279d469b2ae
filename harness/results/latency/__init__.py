"""What stored measurements say: which of them count, the board's speed-ups, latency.csv. Machines are never merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.results.latency.timings import TASK, LatencyRecord, Ratio, Shape, Timing
from harness.results.records import Hardware, PlanFile


@dataclass(frozen=True)
class SpeedUp:
    """A speed-up column of the board: of one machine, one backend and one shape.

    `of` maps (role, name) to how many times faster than `reference` a model is; `control` is the A/A ratio there.
    """

    hardware: Hardware
    backend: str
    shape: Shape
    reference: str
    of: Mapping[tuple[str, str], Ratio]
    control: Ratio

    @property
    def batch(self) -> str:
        """What was timed, in words."""
        return batch_of(self.shape)


def current(records: Sequence[LatencyRecord]) -> list[LatencyRecord]:
    """Of each machine, number of threads and settings the newest measurement; `records` are in order of age. The newest
    comes last."""
    newest: dict[tuple[str, str], LatencyRecord] = {}
    for record in records:
        place = record.provenance.hardware.model_dump_json(), record.settings.model_dump_json()
        newest.pop(place, None)
        newest[place] = record
    return list(newest.values())


def speed_ups(plan: PlanFile, records: Sequence[LatencyRecord]) -> tuple[SpeedUp, ...]:
    """One column for each machine on which what the plan asks for was measured: in the first backend, at the first
    batch size and the longest length that is a number, with the most threads."""
    if plan.latency is None:
        return ()
    length = max(plan.latency.fixed_lengths, default=TASK)
    backend, shape = plan.latency.backends[0], (plan.latency.batch_sizes[0], length)
    most: dict[str, LatencyRecord] = {}
    for record in asked_for(plan, records):
        place = record.provenance.hardware.model_copy(update={"threads": 0}).model_dump_json()
        other = most.get(place, record)
        most[place] = max(other, record, key=lambda each: each.provenance.hardware.threads)
    return tuple(_speed_up(record, backend, shape) for record in most.values())


def asked_for(plan: PlanFile, records: Sequence[LatencyRecord]) -> list[LatencyRecord]:
    """Of each machine and number of threads the newest measurement of what the plan asks for."""
    return [record for record in current(records) if record.settings == plan.latency]


def _speed_up(record: LatencyRecord, backend: str, shape: Shape) -> SpeedUp:
    ratios = {timing.model: record.ratio(timing) for timing in record.at(backend, shape)}
    return SpeedUp(
        hardware=record.provenance.hardware,
        backend=backend,
        shape=shape,
        reference=record.reference,
        of={(m.role, m.name): ratios[m.name].inverse for m in record.models if m.role != "control"},
        control=next(ratios[model.name] for model in record.models if model.role == "control"),
    )


def batch_of(shape: Shape) -> str:
    """``batch 8 of 32 tokens``, ``batch 8 of the task's lengths``."""
    size, length = shape
    return f"batch {size} of the task's lengths" if length == TASK else f"batch {size} of {length} tokens"


def machine(hardware: Hardware) -> str:
    """``cpu, AMD EPYC, 2 cores, 1 thread``."""
    return (
        f"{hardware.device}, {hardware.name}, {hardware.cores} core{'s' * (hardware.cores != 1)},"
        f" {hardware.threads} thread{'s' * (hardware.threads != 1)}"
    )


def milliseconds(seconds: float) -> str:
    """Three digits that count: ``0.123``, ``12.3``, ``1230``."""
    value = seconds * 1e3
    return f"{value:.{max(0, 3 - len(str(int(value))) if value >= 1 else 3)}f}"


def csv_rows(records: Sequence[LatencyRecord]) -> list[dict[str, Any]]:
    """One row for each model, backend and shape of each measurement that counts; times in seconds, unrounded."""
    return [_csv_row(record, timing) for record in current(records) for timing in record.timings]


def _csv_row(record: LatencyRecord, timing: Timing) -> dict[str, Any]:
    model = next(model for model in record.models if model.name == timing.model)
    ratio, hardware = record.ratio(timing), record.provenance.hardware
    return {
        "key": record.key,
        "device": hardware.device,
        "hardware": hardware.name,
        "threads": hardware.threads,
        "backend": timing.backend,
        "batch_size": timing.batch_size,
        "length": timing.length,
        "model": timing.model,
        "role": model.role,
        "n": len(timing.nanoseconds),
        "p50": timing.percentile(0.5),
        "p90": timing.p90,
        "p99": timing.p99,
        "iqr": timing.iqr,
        "ratio_to": model.of or record.reference,
        "ratio": ratio.median,
        "ratio_low": ratio.low,
        "ratio_high": ratio.high,
        "settled": timing.settled,
        "flops": timing.flops,
        "parameters": model.parameters,
        "peak_memory_bytes": model.peak_memory_bytes,
        **_preparation(record, timing),
    }


def _preparation(record: LatencyRecord, timing: Timing) -> dict[str, Any]:
    place = timing.model, timing.backend
    found = next((each for each in record.preparations if (each.model, each.backend) == place), None)
    return {
        "prepared_seconds": found and found.seconds,
        "deviation": found and found.deviation,
        "agreement": found and found.agreement,
    }
