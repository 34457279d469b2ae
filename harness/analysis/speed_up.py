"""What stored measurements say: which of them count, the board's speed-ups, latency.csv. Machines are never merged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.config.schema import LatencySpec
from harness.storage.latency_records import TASK, LatencyRecord, Ratio, Shape, Timing
from harness.storage.records import Hardware, PlanFile, RunRecord, TeacherRecord


@dataclass(frozen=True)
class SpeedUp:
    """A speed-up column of the board: of one machine, one backend and one shape.

    `label` is its own among those of the board: ``cpu``, ``cpu (2)``. `of` maps (role, name) to how many times faster
    than `reference` a model is; `control` is the A/A ratio there, None where what it copies is not on the board.
    """

    label: str
    hardware: Hardware
    backend: str
    shape: Shape
    reference: str
    of: Mapping[tuple[str, str], Ratio]
    control: Ratio | None

    @property
    def batch(self) -> str:
        """What was timed, in words."""
        return batch_of(self.shape)


def machine_key(hardware: Hardware) -> dict[str, Any]:
    """What tells machines apart. Memory does not: a kernel takes some pages more than the one before; nor, beside an
    accelerator, do the cores that a batch system happens to give."""
    found: dict[str, Any] = {"device": hardware.device, "name": hardware.name}
    return found | ({"cores": hardware.cores} if hardware.device == "cpu" else {})


def setup_key(hardware: Hardware, settings: LatencySpec) -> dict[str, Any]:
    """The machine and the number of threads, but for that which an accelerator has beside it without being asked."""
    told = hardware.device == "cpu" or settings.threads is not None
    return machine_key(hardware) | ({"threads": hardware.threads} if told else {})


def current(records: Sequence[LatencyRecord]) -> list[LatencyRecord]:
    """Those that count, from `records` in order of age: all but those that a newer one repeats, which is of the same
    machine, number of threads, settings and task, and has all of their models."""
    kept: list[LatencyRecord] = []
    for record in records:
        kept = [*(other for other in kept if not _repeats(record, other)), record]
    return kept


def _repeats(record: LatencyRecord, older: LatencyRecord) -> bool:
    return _place(record) == _place(older) and _models(older).items() <= _models(record).items()


def _place(record: LatencyRecord) -> tuple[Any, ...]:
    where = setup_key(record.provenance.hardware, record.settings)
    return where, record.settings, record.task, record.reference


def _models(record: LatencyRecord) -> dict[tuple[str, str], Any]:
    """(role, name) -> what the latency of that model depends on."""
    identities = record.identities
    return {(model.role, model.name): identities.get(model.name) for model in record.models if model.of is None}


def requested_records(
    plan: PlanFile, records: Sequence[LatencyRecord], results: Iterable[RunRecord | TeacherRecord]
) -> list[LatencyRecord]:
    """Of each machine and number of threads a measurement of what the plan asks for: that with most of the models that
    `results` are of, the newest of several. It has no others: what was measured of another architecture under the same
    name is no number of this board."""
    known = _sizes(results)
    found: dict[tuple[Any, ...], LatencyRecord] = {}
    for record in current(records):
        sizes = _models(record).items()
        ours = {name for (role, name), size in sizes if size in known.get((record.task, role, name), ())}
        if record.settings == plan.latency and record.reference in ours:
            own, place = record.only(ours), tuple(setup_key(record.provenance.hardware, record.settings).values())
            if place not in found or len(own.models) >= len(found[place].models):
                found.pop(place, None)
                found[place] = own
    return list(found.values())


def _sizes(results: Iterable[RunRecord | TeacherRecord]) -> dict[tuple[str | None, str, str], list[dict[str, Any]]]:
    """(task, role, name) -> the sizes of its models, which are what the latency of a suite's models depends on."""
    found: dict[tuple[str | None, str, str], list[dict[str, Any]]] = {}
    for result in results:
        who = ("student", result.student) if isinstance(result, RunRecord) else ("teacher", result.name)
        sizes, size = found.setdefault((result.task, *who), []), result.size.model_dump()
        if size not in sizes:
            sizes.append(size)
    return found


def speed_ups(plan: PlanFile, records: Sequence[LatencyRecord]) -> tuple[SpeedUp, ...]:
    """The speed-up columns of a board, one per machine.

    A column takes the first backend, the first batch size, the longest numeric length, and the largest thread count.

    Args:
        records: the result of `requested_records`.
    """
    if plan.latency is None:
        return ()
    length = max(plan.latency.fixed_lengths, default=TASK)
    backend, shape = plan.latency.backends[0], (plan.latency.batch_sizes[0], length)
    most: dict[tuple[Any, ...], LatencyRecord] = {}
    for record in records:
        place = tuple(machine_key(record.provenance.hardware).values())
        other = most.get(place, record)
        most[place] = max(other, record, key=lambda each: each.provenance.hardware.threads)
    labels = numbered(record.provenance.hardware.device for record in most.values())
    return tuple(_speed_up(label, record, backend, shape) for label, record in zip(labels, most.values(), strict=True))


def numbered(names: Iterable[str]) -> Iterator[str]:
    """The names, no two alike: ``cpu``, ``cpu (2)``."""
    met: Counter[str] = Counter()
    for name in names:
        met[name] += 1
        yield name if met[name] == 1 else f"{name} ({met[name]})"


def _speed_up(label: str, record: LatencyRecord, backend: str, shape: Shape) -> SpeedUp:
    ratios = {timing.model: record.ratio(timing) for timing in record.at(backend, shape)}
    return SpeedUp(
        label=label,
        hardware=record.provenance.hardware,
        backend=backend,
        shape=shape,
        reference=record.reference,
        of={(m.role, m.name): ratios[m.name].inverse for m in record.models if m.role != "control"},
        control=next((ratios[model.name] for model in record.models if model.role == "control"), None),
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
