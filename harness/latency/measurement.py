"""From models to a record: each backend in turn, all models side by side in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness.analysis.speed_up import place_of
from harness.api.errors import Problem, UserError
from harness.api.latency_backend import Backend
from harness.api.seeds import derive
from harness.config.schema import LatencySpec
from harness.execution import run_records
from harness.latency import VERSION, machine, model_inputs, peak_memory, timed_shapes, timing_protocol
from harness.latency.candidates import Candidate, Candidates
from harness.latency.preparation import Batches, Prepared, prepare
from harness.storage import provenance
from harness.storage.hashing import key
from harness.storage.latency_records import LatencyRecord, MeasuredModel, Preparation, Shape, TaskLengths, Timing
from harness.storage.records import Hardware

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PACKAGES = ("torch", "transformers")
"""Whose versions are part of the key, beside those of the backends' own."""


def refuse_obstacles(settings: LatencySpec, device: torch.device, backends: Mapping[str, Backend]) -> None:
    """Raise `UserError` for backends that cannot be used here, before anything is trained or loaded."""
    reasons = [backends[name].obstacle(device) for name in settings.backends]
    problems = [Problem(reason, "latency.backends") for reason in reasons if reason]
    if problems:
        raise UserError(*problems)


def parts(
    candidates: Candidates,
    settings: LatencySpec,
    device: torch.device,
    *,
    threads: int,
    backends: Mapping[str, Backend],
) -> dict[str, Any]:
    """All that determines a measurement, but for the moment: models, settings, hardware, packages, protocol."""
    used = [*PACKAGES, *(package for name in settings.backends for package in backends[name].packages)]
    found: dict[str, Any] = {
        "models": [{"name": m.name, "role": m.role, "identity": dict(m.identity)} for m in candidates.with_control()],
        "task": candidates.task,
        "settings": settings.model_dump(),
        "hardware": place_of(_hardware(device, threads), settings),
        "packages": dict(_versions(used)),
        "code": VERSION,
    }
    if settings.includes_task_lengths and (read := candidates.validation):
        found["lengths"] = [read.data.validation_fingerprint, read.reader.fingerprint, read.max_length]
    return found


def measure(
    candidates: Candidates,
    settings: LatencySpec,
    device: torch.device,
    *,
    backends: Mapping[str, Backend],
    say: Callable[[str], None],
    threads: int | None = None,
) -> LatencyRecord:
    """Measure now, with so many threads (default: as many as torch takes). `say` is told what is about to happen.

    Raises:
        UserError: a backend cannot be used or computes something else than eager, a model is too short for a length, or
            the task's lengths are asked for and there is no task.
    """
    threads = threads or torch.get_num_threads()
    refuse_obstacles(settings, device, backends)
    lengths = _task_lengths(candidates, settings)
    listed = candidates.with_control()
    made_of = parts(candidates, settings, device, threads=threads, backends=backends)
    models = [candidate.load().to(device).eval() for candidate in listed]
    batches = timed_shapes.batches(models, settings, lengths)
    size, length = timed_shapes.largest(batches)
    model_inputs.check_lengths([candidate.name for candidate in listed], [model.config for model in models], [length])
    started, load, before = provenance.now(), machine.load(), machine.state(device)
    timings: list[Timing] = []
    preparations: list[Preparation] = []
    share = settings.max_seconds / len(settings.backends) / len(machine.thread_counts(settings.threads, device))
    with machine.held_still(threads):
        work = _flops(listed, models, batches)
        for name in settings.backends:
            say(f"latency: preparing {len(listed)} models for {name}, threads: {threads}")
            ready = prepare(name, backends[name], listed, models, batches, device)
            say(f"latency: {settings.rounds} rounds in {name}, at most {share:.3g} s")
            timings += _time(name, ready, settings, seconds=share, seed=derive(0, key(made_of), name))
            preparations += ready.preparations
        after = machine.state(device)
        peaks = _peaks(models[: len(candidates.models)], (size, length), settings, device, threads)
        origin = run_records.provenance_of(device, started)
    return LatencyRecord(
        key=key(made_of),
        parts=made_of,
        task=candidates.task,
        settings=settings,
        reference=candidates.models[0].name,
        models=[_described(*each) for each in zip(listed, models, [*peaks, None], strict=True)],
        timings=[timing.model_copy(update={"flops": work[timing.model, timing.shape]}) for timing in timings],
        preparations=preparations,
        lengths=None if lengths is None else _summary(lengths),
        memory_shape=(size, length) if settings.memory else None,
        not_measured=dict(candidates.left_out),
        clocks=_paired(before.clocks, after.clocks),
        temperatures=_paired(before.temperatures, after.temperatures),
        foreign=sorted({*before.foreign, *after.foreign}),
        load=load,
        provenance=origin,
    )


def _task_lengths(candidates: Candidates, settings: LatencySpec) -> NDArray[np.int64] | None:
    if not settings.includes_task_lengths:
        return None
    if candidates.validation is None:
        raise UserError(Problem("`task` is asked for, and these models have no task", "latency.lengths"))
    return timed_shapes.task_lengths(candidates.validation)


def _time(name: str, ready: Prepared, settings: LatencySpec, *, seconds: float, seed: int) -> list[Timing]:
    """Warm up every call at its longest batch, then time them in rounds, within this backend's share of the time."""
    began, budget = time.perf_counter_ns(), int(seconds * 1e9)
    deadline = began + int(budget * timing_protocol.WARMUP_SHARE)
    warm = {
        (shape, model): timing_protocol.warm_up(call, calls=settings.warmup, deadline=deadline)
        for shape, variants in ready.calls.items()
        for model, call in variants[-1].items()
    }
    times = timing_protocol.interleaved(ready.calls, rounds=settings.rounds, deadline=began + budget, seed=seed)
    return [
        Timing(
            model=model,
            backend=name,
            batch_size=shape[0],
            length=shape[1],
            warmup=len(ready.calls[shape]) + warm[shape, model].calls,
            settled=warm[shape, model].settled,
            nanoseconds=taken,
        )
        for shape, group in times.items()
        for model, taken in group.items()
    ]


def _peaks(
    models: Sequence[PreTrainedModel], shape: tuple[int, int], settings: LatencySpec, device: torch.device, threads: int
) -> list[int | None]:
    return peak_memory.peaks(models, shape, device, threads) if settings.memory else [None] * len(models)


def _flops(
    candidates: Sequence[Candidate], models: Sequence[PreTrainedModel], batches: Batches
) -> dict[tuple[str, Shape], int]:
    """Of a call of each model at each shape: a batch is as many examples of the length that it is padded to."""
    found: dict[tuple[str, Shape], int] = {}
    for candidate, model in zip(candidates, models, strict=True):
        of_length: dict[int, int] = {}
        for shape, group in batches.items():
            sizes = [tuple(batch["input_ids"].shape) for batch in group]
            for length in {length for _, length in sizes} - of_length.keys():
                of_length[length] = run_records.flops(model, length)
            found[candidate.name, shape] = sum(size * of_length[length] for size, length in sizes) // len(sizes)
    return found


def _described(candidate: Candidate, model: PreTrainedModel, peak: int | None) -> MeasuredModel:
    return MeasuredModel(
        name=candidate.name,
        role=candidate.role,
        of=candidate.of,
        source=candidate.source,
        kind=type(model).__name__,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        dtype=str(model.dtype).removeprefix("torch."),
        peak_memory_bytes=peak,
    )


def _summary(lengths: NDArray[np.int64]) -> TaskLengths:
    return TaskLengths(
        examples=len(lengths),
        mean=float(lengths.mean()),
        median=float(np.median(lengths)),
        p90=float(np.quantile(lengths, 0.9)),
        longest=int(lengths.max()),
    )


def _hardware(device: torch.device, threads: int) -> Hardware:
    return provenance.hardware(str(device)).model_copy(update={"threads": threads})


def _paired(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, list[float]]:
    return {name: [value, after[name]] for name, value in before.items() if name in after}


def _versions(packages: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Of those that are installed: some come under several names."""
    for name in packages:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue
