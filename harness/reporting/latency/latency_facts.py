"""What latency.md says below its tables: what was measured, on what machine, and how."""

from __future__ import annotations

from collections.abc import Iterator

from harness.storage.latency_records import LEAST_FOR_P90, LEAST_FOR_P99, LatencyRecord


def measurement_facts(record: LatencyRecord) -> Iterator[str]:
    """Of this measurement, a line each."""
    for model in record.models:
        if model.of is None:
            yield f"{model.name} ({model.role}): {model.kind}, {model.dtype}; {model.source}"
    if record.task is not None:
        yield (
            f"One checkpoint for each architecture, since latency does not depend on weights; all have the head of "
            f"{record.task}."
        )
    for student, reason in record.not_measured.items():
        yield f"{student} was not measured: {reason}."
    if found := record.lengths:
        yield (
            f"task: the tokens of {found.examples} validation examples of {record.task}, as its students read them: "
            f"mean {found.mean:.1f}, median {found.median:g}, 90th percentile {found.p90:g}, longest {found.longest}"
        )
    for name, (before, after) in record.clocks.items():
        yield f"Clock, {name}: {before:.0f} MHz before, {after:.0f} MHz after"
    for name, (before, after) in record.temperatures.items():
        yield f"Temperature, {name}: {before:.0f} °C before, {after:.0f} °C after"
    if record.load is not None:
        yield f"Load when it began: {record.load:g} processes, a mean over the minute before (training included)"
    versions = ", ".join(f"{name} {version}" for name, version in record.parts["packages"].items() if version)
    when = f"{record.provenance.started} to {record.provenance.ended}"
    yield f"Packages: {versions}; {when}; record `latency/{record.key}.json`"


def procedure(record: LatencyRecord) -> Iterator[str]:
    """Of any measurement."""
    yield (
        "A time is the host's, from a model's call on inputs that lie on the device until its outputs are in the "
        "host's memory and the device has nothing left to do; tokenising is no part of it. Every row of a batch has "
        "exactly that many tokens, drawn at random, and no padding."
    )
    if record.lengths:
        yield (
            "task: batches whose rows have lengths of the task's examples, padded to their longest. A round takes one "
            "of them, the same for all models, so p50, p90 and IQR are over the lengths too."
        )
    yield (
        "All models were in one process. After a warm-up (until the median of 5 calls is within 5 % of that of the 5 "
        f"before; at most {record.settings.warmup} calls beside the first) came rounds, in each of which every model "
        "was timed once at every shape, shapes and models in random order. Backends were measured one after the other."
    )
    yield (
        f"n: rounds. p50, p90: percentiles of the times; fewer than {LEAST_FOR_P90} have no p90. "
        f"{_p99(record)}IQR: from the first to the third quartile. Time ratio: the median over the rounds "
        f"of a model's time divided by {record.reference}'s in the same round; below 1 is faster. Its interval comes "
        "from order statistics of these ratios, and takes rounds for independent. Speed-up: 1 / time ratio."
    )
    yield (
        "The second copy is the A/A control: the same model, timed as if it were another, with its ratio to the first. "
        "What it differs from 1 by is what the measurement cannot tell apart."
    )
    yield f"GFLOPs: of one call of one example, a multiplication and an addition being two.{_memory(record)}"
    if any(each.deviation is not None for each in record.preparations):
        yield (
            "Prepared in: from the loaded model through its first call at every shape, compiling and exporting "
            "included; no time above holds any of it. Deviation: the most by which an output differs from eager's on "
            "padded batches. Agreement: the share of validation examples with the same prediction as in eager (of "
            "numbers: their correlation); only of backends that need not compute the same."
        )


def _p99(record: LatencyRecord) -> str:
    if all(timing.p99 is None for timing in record.timings):
        return ""
    return f"p99 only from {LEAST_FOR_P99} rounds on, of which two or more lie beyond it with 99 % certainty. "


def _memory(record: LatencyRecord) -> str:
    if record.memory_shape is None:
        return ""
    size, length = record.memory_shape
    return (
        f" Peak memory: of inference in eager, weights included, at batch {size} of {length} tokens, in a process of "
        "its own, above what the process took with its libraries loaded."
    )
