"""latency.md, latency.csv and the board's speed-ups: from the stored measurements alone. Machines are never merged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from harness.results.records import Hardware, PlanFile
from harness.results.timings import LatencyRecord, Ratio, Timing

COLUMNS = ("batch", "tokens", "model", "n", "p50 (ms)", "p90 (ms)", "time ratio", "95 % interval", "speed-up")


@dataclass(frozen=True)
class SpeedUp:
    """A speed-up column of the board: of one machine, one backend and one shape.

    `of` maps (role, name) to how many times faster than `reference` a model is; `control` is the A/A ratio there.
    """

    hardware: Hardware
    backend: str
    shape: tuple[int, int]
    reference: str
    of: Mapping[tuple[str, str], Ratio]
    control: Ratio


def current(records: Sequence[LatencyRecord]) -> list[LatencyRecord]:
    """Of each machine and settings the newest measurement; `records` are in order of age. The newest comes last."""
    newest: dict[tuple[str, str], LatencyRecord] = {}
    for record in records:
        place = record.provenance.hardware.model_dump_json(), record.settings.model_dump_json()
        newest.pop(place, None)
        newest[place] = record
    return list(newest.values())


def speed_ups(plan: PlanFile, records: Sequence[LatencyRecord]) -> tuple[SpeedUp, ...]:
    """One column for each machine on which what the plan asks for was measured: in the first backend, at the first
    batch size and the longest length."""
    if plan.latency is None:
        return ()
    backend, shape = plan.latency.backends[0], (plan.latency.batch_sizes[0], max(plan.latency.lengths))
    return tuple(_speed_up(record, backend, shape) for record in asked_for(plan, records))


def asked_for(plan: PlanFile, records: Sequence[LatencyRecord]) -> list[LatencyRecord]:
    """Of each machine the newest measurement of what the plan asks for."""
    return [record for record in current(records) if record.settings == plan.latency]


def _speed_up(record: LatencyRecord, backend: str, shape: tuple[int, int]) -> SpeedUp:
    ratios = {timing.model: record.ratio(timing) for timing in record.at(backend, shape)}
    return SpeedUp(
        hardware=record.provenance.hardware,
        backend=backend,
        shape=shape,
        reference=record.reference,
        of={(m.role, m.name): ratios[m.name].inverse for m in record.models if m.role != "control"},
        control=next(ratios[model.name] for model in record.models if model.role == "control"),
    )


def markdown(title: str, records: Sequence[LatencyRecord]) -> str:
    """The whole file: a section for each measurement that counts, a table for each of its backends."""
    return (
        "\n\n".join([f"# {title}: latency", *(part for record in current(records) for part in _section(record))]) + "\n"
    )


def _section(record: LatencyRecord) -> Iterator[str]:
    hardware, settings = record.provenance.hardware, record.settings
    yield f"## {machine(hardware)}"
    if marks := list(_marks(record)):
        yield "\n".join(f"- **{word}**: {text}" for word, text in marks)
    for backend in record.backends:
        yield f"### {backend}"
        yield _table(record, backend)
    yield "### What was measured"
    yield "\n".join(f"- {text}" for text in _facts(record))
    yield "### How it was measured"
    yield "\n".join(
        f"- {text}"
        for text in (
            "A time is the host's, from a model's call on inputs that lie on the device until its outputs are in the "
            "host's memory and the device has nothing left to do. Every row of a batch has exactly that many tokens, "
            "drawn at random, and no padding; tokenising is no part of it.",
            f"All models were in one process. After a warm-up (until the median of 5 calls is within 5 % of that of "
            f"the 5 before; at most {settings.warmup} calls) came rounds, in each of which every model was timed once "
            "at every shape, shapes and models in random order. Backends were measured one after the other.",
            "n: rounds. p50, p90: percentiles of the times; fewer than 10 have no p90. Time ratio: the median over the "
            f"rounds of a model's time divided by {record.reference}'s in the same round; below 1 is faster. Its "
            "interval comes from order statistics of these ratios, and takes rounds for independent. "
            "Speed-up: 1 / time ratio.",
            "The second copy is the A/A control: the same model, timed as if it were another, with its ratio to the "
            "first. What it differs from 1 by is what the measurement cannot tell apart.",
        )
    )


def machine(hardware: Hardware) -> str:
    """``cpu, AMD EPYC, 2 cores, 1 thread``."""
    return (
        f"{hardware.device}, {hardware.name}, {hardware.cores} core{'s' * (hardware.cores != 1)},"
        f" {hardware.threads} thread{'s' * (hardware.threads != 1)}"
    )


def _marks(record: LatencyRecord) -> Iterator[tuple[str, str]]:
    """What limits the claim of the tables."""
    control = next(model for model in record.models if model.role == "control")
    controls = [timing for timing in record.timings if timing.model == control.name]
    off = [timing for timing in controls if record.ratio(timing).leaves_out_one]
    if off:
        cases = "; ".join(f"{_place(timing)}: {_ratio(record.ratio(timing))}" for timing in off)
        yield (
            "A/A DIFFERS",
            f"two copies of {control.of} are told apart in {len(off)} of {len(controls)} cases ({cases}); by chance "
            "alone 1 in 20 is. Where they are, differences as small as theirs mean nothing",
        )
    if any(record.ratio(timing).low is None for timing in controls):
        yield "NO INTERVALS", "fewer than 6 rounds were timed; a difference without an interval is not a finding"
    if short := sorted({len(t.nanoseconds) for t in record.timings if len(t.nanoseconds) < record.settings.rounds}):
        yield (
            "CUT SHORT",
            f"the time of {record.settings.max_seconds:g} s was over after {_listed(short)} of "
            f"{record.settings.rounds} rounds",
        )
    if unsettled := [timing for timing in record.timings if not timing.settled]:
        cases = f"{len(unsettled)} of {len(record.timings)}"
        yield "NOT SETTLED", f"in {cases} cases the median still moved when the warm-up ended (n is marked *)"


def _place(timing: Timing) -> str:
    return f"{timing.backend}, batch {timing.batch_size} of {timing.length} tokens"


def _table(record: LatencyRecord, backend: str) -> str:
    rows: list[list[str]] = []
    for shape in record.shapes:
        if rows:
            rows.append([""] * len(COLUMNS))
        rows += [_row(record, timing) for timing in record.at(backend, shape)]
    align = ["right", "right", "left", *["right"] * (len(COLUMNS) - 3)]
    return tabulate(rows, headers=COLUMNS, tablefmt="pipe", colalign=align, disable_numparse=True)


def _row(record: LatencyRecord, timing: Timing) -> list[str]:
    model = next(model for model in record.models if model.name == timing.model)
    ratio = record.ratio(timing)
    name = timing.model.replace("|", r"\|")
    return [
        str(timing.batch_size),
        str(timing.length),
        f"*{name}*" if timing.model == record.reference or model.of else name,
        f"{len(timing.nanoseconds)}{'' if timing.settled else '*'}",
        milliseconds(timing.percentile(0.5)),
        "–" if timing.p90 is None else milliseconds(timing.p90),
        f"{ratio.median:.3f}" + (f" to {model.of}" if model.of else ""),
        "–" if ratio.low is None or timing.model == record.reference else f"[{ratio.low:.3f}, {ratio.high:.3f}]",
        "–" if model.of else f"{ratio.inverse.median:.2f}×",
    ]


def milliseconds(seconds: float) -> str:
    """Three digits that count: ``0.123``, ``12.3``, ``1230``."""
    value = seconds * 1e3
    return f"{value:.{max(0, 3 - len(str(int(value))) if value >= 1 else 3)}f}"


def _ratio(ratio: Ratio) -> str:
    return f"{ratio.median:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"


def _facts(record: LatencyRecord) -> Iterator[str]:
    for model in record.models:
        if model.of is None:
            size = f"{model.kind}, {model.parameters / 1e6:.3g} M parameters, {model.dtype}"
            yield f"{model.name} ({model.role}): {size}; {model.source}"
    if record.task is not None:
        yield (
            f"One checkpoint for each architecture, since latency does not depend on weights; all have the head of "
            f"{record.task}."
        )
    for student, reason in record.not_measured.items():
        yield f"{student} was not measured: {reason}."
    for name, (before, after) in record.clocks.items():
        yield f"Clock, {name}: {before:.0f} MHz before, {after:.0f} MHz after"
    if record.load is not None:
        yield f"Load when it began: {record.load:g} processes, a mean over the minute before (training included)"
    versions = ", ".join(f"{name} {version}" for name, version in record.parts["packages"].items() if version)
    when = f"{record.provenance.started} to {record.provenance.ended}"
    yield f"Packages: {versions}; {when}; record `latency/{record.key}.json`"


def _listed(numbers: Sequence[int]) -> str:
    return " or ".join(map(str, numbers))


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
        "ratio_to": model.of or record.reference,
        "ratio": ratio.median,
        "ratio_low": ratio.low,
        "ratio_high": ratio.high,
        "settled": timing.settled,
    }
