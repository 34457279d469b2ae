"""Selects stored latency measurements, and computes speed-ups and latency.csv from them. Machines are never mixed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.api.wording import counted
from harness.config.latency_schema import LatencySpec
from harness.storage.latency_records import TASK, InputShape, LatencyRecord, Ratio, Timing
from harness.storage.plan_file import PlanFile
from harness.storage.records import Hardware, RunRecord, TeacherRecord


@dataclass(frozen=True)
class SpeedUp:
    """A speed-up column of the board, for one machine, backend and shape.

    Attributes:
        label: unique on the board: ``cpu``, ``cpu (2)``.
        of: (role, name) -> how many times faster than `reference` a model is.
        control: the A/A ratio; None if the model that the control copies is not on the board.
    """

    label: str
    hardware: Hardware
    backend: str
    shape: InputShape
    reference: str
    of: Mapping[tuple[str, str], Ratio]
    control: Ratio | None

    @property
    def batch(self) -> str:
        """``batch 8 of 32 tokens``: what was timed."""
        return batch_of(self.shape)


def machine_key(hardware: Hardware) -> dict[str, Any]:
    """The properties that identify a machine: device, name, and on the CPU the number of cores.

    Memory is not one of them, because it varies with the kernel version. With an accelerator the number of cores is
    not, because it is whatever a batch system assigned.
    """
    identity: dict[str, Any] = {"device": hardware.device, "name": hardware.name}
    return identity | ({"cores": hardware.cores} if hardware.device == "cpu" else {})


def setup_key(hardware: Hardware, settings: LatencySpec) -> dict[str, Any]:
    """The machine and the number of threads. With an accelerator, threads count only if ``latency.threads`` is set."""
    counts = hardware.device == "cpu" or settings.threads is not None
    return machine_key(hardware) | ({"threads": hardware.threads} if counts else {})


def current(records: Sequence[LatencyRecord]) -> list[LatencyRecord]:
    """Drop records that a newer one supersedes. `records` are sorted by age, oldest first.

    A newer record supersedes an older one if machine, number of threads, settings and task are equal and it contains
    all models of the older one.
    """
    latest: list[LatencyRecord] = []
    for record in records:
        latest = [*(other for other in latest if not _supersedes(record, other)), record]
    return latest


def _supersedes(record: LatencyRecord, older: LatencyRecord) -> bool:
    return _setup(record) == _setup(older) and _models(older).items() <= _models(record).items()


def _setup(record: LatencyRecord) -> tuple[Any, ...]:
    setup = setup_key(record.provenance.hardware, record.settings)
    return setup, record.settings, record.task, record.reference


def _models(record: LatencyRecord) -> dict[tuple[str, str], Any]:
    """(role, name) -> the identity of the model: everything that its latency depends on."""
    identities = record.identities
    return {(model.role, model.name): identities.get(model.name) for model in record.models if model.of is None}


def requested_records(
    plan: PlanFile, records: Sequence[LatencyRecord], results: Iterable[RunRecord | TeacherRecord]
) -> list[LatencyRecord]:
    """The measurements that a board shows: for each machine and number of threads, one with the plan's settings.

    It is the measurement with most of the models in `results`, the newest of several, restricted to these models. A
    model whose size differs from that in `results` is dropped: another architecture was measured under the same name.
    """
    known = _sizes(results)
    selected: dict[tuple[Any, ...], LatencyRecord] = {}
    for record in current(records):
        sizes = _models(record).items()
        names = {name for (role, name), size in sizes if size in known.get((record.task, role, name), ())}
        if record.settings == plan.latency and record.reference in names:
            restricted = record.only(names)
            setup = tuple(setup_key(record.provenance.hardware, record.settings).values())
            if setup not in selected or len(restricted.models) >= len(selected[setup].models):
                selected.pop(setup, None)  # so that the new entry is the last one
                selected[setup] = restricted
    return list(selected.values())


def _sizes(results: Iterable[RunRecord | TeacherRecord]) -> dict[tuple[str | None, str, str], list[dict[str, Any]]]:
    """(task, role, name) -> the sizes of its models, which determine the latency of a suite's models."""
    by_model: dict[tuple[str | None, str, str], list[dict[str, Any]]] = {}
    for result in results:
        model = ("student", result.student) if isinstance(result, RunRecord) else ("teacher", result.name)
        sizes, size = by_model.setdefault((result.task, *model), []), result.model_size.model_dump()
        if size not in sizes:
            sizes.append(size)
    return by_model


def speed_ups(plan: PlanFile, records: Sequence[LatencyRecord]) -> tuple[SpeedUp, ...]:
    """The speed-up columns of a board, one per machine.

    A column takes the first backend, the first batch size, the longest numeric length, and the largest thread count.

    Args:
        records: the result of `requested_records`.
    """
    if plan.latency is None:
        return ()
    backend, shape = plan.latency.backends[0], board_shape(plan.latency)
    chosen = one_per_machine(records)
    labels = numbered(record.provenance.hardware.device for record in chosen)
    return tuple(_speed_up(label, record, backend, shape) for label, record in zip(labels, chosen, strict=True))


def board_shape(settings: LatencySpec) -> InputShape:
    """The shape of a board's speed-ups: the first batch size at the longest numeric length."""
    return settings.batch_sizes[0], max(settings.fixed_lengths, default=TASK)


def one_per_machine(records: Sequence[LatencyRecord]) -> list[LatencyRecord]:
    """The measurement of each machine with the largest thread count. `records` are those of `requested_records`."""
    by_machine: dict[tuple[Any, ...], LatencyRecord] = {}
    for record in records:
        identity = tuple(machine_key(record.provenance.hardware).values())
        other = by_machine.get(identity, record)
        by_machine[identity] = max(other, record, key=lambda r: r.provenance.hardware.threads)
    return list(by_machine.values())


def numbered(names: Iterable[str]) -> Iterator[str]:
    """Make names unique by numbering repetitions: ``cpu``, ``cpu (2)``."""
    counts: Counter[str] = Counter()
    for name in names:
        counts[name] += 1
        yield name if counts[name] == 1 else f"{name} ({counts[name]})"


def _speed_up(label: str, record: LatencyRecord, backend: str, shape: InputShape) -> SpeedUp:
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


def batch_of(shape: InputShape) -> str:
    """``batch 8 of 32 tokens``, ``batch 8 of the task's lengths``."""
    size, length = shape
    return f"batch {size} of the task's lengths" if length == TASK else f"batch {size} of {counted(length, 'token')}"


def machine(hardware: Hardware) -> str:
    """``cpu, AMD EPYC, 2 cores, 1 thread``."""
    return (
        f"{hardware.device}, {hardware.name}, {counted(hardware.cores, 'core')}, {counted(hardware.threads, 'thread')}"
    )


def milliseconds(seconds: float) -> str:
    """Milliseconds with three significant digits: ``0.123``, ``12.3``, ``1230``."""
    value = seconds * 1e3
    return f"{value:.{max(0, 3 - len(str(int(value))) if value >= 1 else 3)}f}"


def csv_rows(records: Sequence[LatencyRecord]) -> list[dict[str, Any]]:
    """One row per model, backend and shape of each `current` record; times in seconds, unrounded."""
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
    matching = (p for p in record.preparations if (p.model, p.backend) == (timing.model, timing.backend))
    preparation = next(matching, None)
    return {
        "prepared_seconds": preparation and preparation.seconds,
        "deviation": preparation and preparation.deviation,
        "agreement": preparation and preparation.agreement,
    }
