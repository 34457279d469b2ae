"""Sentences of latency.md below its tables: models, machine and measurement procedure."""

from __future__ import annotations

from collections.abc import Iterator

from harness.api.wording import counted
from harness.storage.latency_records import MIN_CALLS_FOR_P90, MIN_CALLS_FOR_P99, LatencyRecord


def measurement_facts(record: LatencyRecord) -> Iterator[str]:
    """Yield the facts of one measurement, a sentence each."""
    for model in record.models:
        if model.of is None:
            yield f"{model.name} ({model.role}): {model.kind}, {model.dtype}; {model.source}"
    if record.task is not None:
        yield (
            f"One checkpoint for each architecture, because latency does not depend on weights; all have "
            f"the head of {record.task}."
        )
    for student, reason in record.not_measured.items():
        yield f"{student} was not measured: {reason}."
    if lengths := record.lengths:
        yield (
            f"task: token counts of {counted(lengths.examples, 'validation example')} of {record.task}, students' "
            f"tokenizer: mean {lengths.mean:.1f}, median {lengths.median:g}, 90th percentile {lengths.p90:g}, longest "
            f"{lengths.longest}"
        )
    for name, (before, after) in record.clocks.items():
        yield f"Clock, {name}: {before:.0f} MHz before, {after:.0f} MHz after"
    for name, (before, after) in record.temperatures.items():
        yield f"Temperature, {name}: {before:.0f} °C before, {after:.0f} °C after"
    if record.load is not None:
        load = counted(record.load, "process")
        yield f"Load average at the start: {load} over the previous minute (training included)"
    versions = ", ".join(f"{name} {version}" for name, version in record.packages.items() if version)
    when = f"{record.provenance.started} to {record.provenance.ended}"
    yield f"Packages: {versions or 'not recorded'}; {when}; record `latency/{record.key}.json`"


def procedure(record: LatencyRecord) -> Iterator[str]:
    """Yield sentences on the measurement procedure and the columns of the tables."""
    yield (
        "A time is measured on the host, from the call of a model whose inputs are on the device until its outputs "
        "are in host memory and the device is idle; it excludes tokenization. Every row of a batch has exactly the "
        "stated number of random tokens and no padding."
    )
    if record.lengths:
        yield (
            "task: batches of rows with the lengths of the task's examples, padded to the longest. Each round times "
            "one batch, the same for all models, so p50, p90 and IQR cover the variation of lengths too."
        )
    yield (
        "All models ran in one process. After a warm-up (until the median of 5 calls is within 5 % of that of "
        f"the previous 5; at most {counted(record.settings.warmup, 'call')} after the first), each round timed every "
        "model once at every shape, with shapes and models in random order. Backends were measured one after the other."
    )
    yield (
        f"n: rounds. p50, p90: percentiles of the times; p90 needs at least {MIN_CALLS_FOR_P90} rounds. "
        f"{_p99(record)}IQR: interquartile range. Time ratio: the median over the rounds "
        f"of a model's time divided by {record.reference}'s in the same round; below 1 is faster. Its interval comes "
        "from order statistics of these ratios and assumes independent rounds. Speed-up: 1 / time ratio."
    )
    yield (
        "The second copy is the A/A control: the same model, timed as if it were a different one, with its ratio to "
        "the first copy. The measurement cannot resolve differences smaller than the control's deviation from 1."
    )
    yield f"GFLOPs: for one call with one example; a multiplication and an addition count as two.{_memory(record)}"
    if any(preparation.deviation is not None for preparation in record.preparations):
        yield (
            "Prepared in: time from the loaded model through its first call at every shape, including compilation and "
            "export; the times above exclude it. Deviation: the largest difference of an output from eager mode on "
            "padded batches. Agreement: the share of validation examples with the same prediction as in eager mode "
            "(regression: the correlation); only for backends that may compute different values."
        )


def _p99(record: LatencyRecord) -> str:
    if all(timing.p99 is None for timing in record.timings):
        return ""
    return f"p99 needs at least {MIN_CALLS_FOR_P99} rounds, so that with 99 % probability two or more exceed it. "


def _memory(record: LatencyRecord) -> str:
    if record.memory_shape is None:
        return ""
    size, length = record.memory_shape
    on_gpu = record.provenance.hardware.device == "cuda"
    what = "allocated by torch on the device" if on_gpu else "minus that of the process with its libraries loaded"
    return (
        f" Peak memory: of inference in eager mode, weights included, at batch {size} of {length} tokens, measured in "
        f"a separate process, {what}."
    )
