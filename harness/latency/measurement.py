"""Measures models in every backend and returns a latency record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness.analysis.speed_up import setup_key
from harness.api.errors import Problem, UserError, describe
from harness.api.latency_backend import Backend
from harness.api.seeds import derive
from harness.api.wording import counted
from harness.config.latency_schema import LatencySpec
from harness.execution import run_records
from harness.latency import VERSION, machine, model_inputs, peak_memory, timed_shapes, timing_protocol
from harness.latency.candidates import Candidate, Candidates
from harness.latency.preparation import Batches, Prepared, prepare
from harness.planning import devices
from harness.storage import provenance
from harness.storage.hashing import key
from harness.storage.latency_records import InputShape, LatencyRecord, MeasuredModel, Preparation, TaskLengths, Timing
from harness.storage.records import Hardware

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PACKAGES = ("torch", "transformers")
"""Packages whose versions are part of the key, in addition to those of the backends."""


def refuse_obstacles(settings: LatencySpec, device: torch.device, backends: Mapping[str, Backend]) -> None:
    """Raise `UserError` for backends that cannot run on this machine."""
    reasons = [_obstacle(name, backends[name], device) for name in settings.backends]
    problems = [Problem(reason, "latency.backends") for reason in reasons if reason]
    if problems:
        raise UserError(*problems)


def _obstacle(name: str, backend: Backend, device: torch.device) -> str | None:
    """The obstacle of a backend, or what is wrong with its method."""
    try:
        reason: object = backend.obstacle(device)
    except UserError:
        raise
    except Exception as error:  # a plugin may raise anything
        return f"obstacle() of the backend {name!r} failed: {describe(error)}"
    if reason is None or isinstance(reason, str):
        return reason
    return f"obstacle() of the backend {name!r} returned {reason!r}; expected the reason as a text, or None"


def parts(
    candidates: Candidates,
    settings: LatencySpec,
    device: torch.device,
    *,
    threads: int,
    backends: Mapping[str, Backend],
) -> dict[str, Any]:
    """What determines a measurement: models, settings, hardware, packages, protocol; and the names of the models."""
    used = [*PACKAGES, *(package for name in settings.backends for package in backends[name].packages)]
    document: dict[str, Any] = {
        "models": [{"name": m.name, "role": m.role, "identity": dict(m.identity)} for m in candidates.with_control()],
        "task": candidates.task,
        "settings": settings.model_dump(),
        "hardware": setup_key(_hardware(device, threads), settings),
        "packages": dict(_versions(used)),
        "code": VERSION,
    }
    if settings.includes_task_lengths and (data := candidates.validation):
        document["lengths"] = [data.data.validation_fingerprint, data.tokenizer_ref.fingerprint, data.max_length]
    return document


def key_of(parts: Mapping[str, Any]) -> str:
    """The key of a measurement with these `parts`: their hash without the models' names, which determine nothing."""
    models = [{name: value for name, value in model.items() if name != "name"} for model in parts.get("models", ())]
    return key({**parts, "models": models})


def measure(
    candidates: Candidates,
    settings: LatencySpec,
    device: torch.device,
    *,
    backends: Mapping[str, Backend],
    say: Callable[[str], None],
    threads: int | None = None,
) -> LatencyRecord:
    """Measure all models in all backends with one number of threads.

    Args:
        say: called with progress messages.
        threads: default: torch's current number.

    Raises:
        UserError: the device or a backend cannot be used, its outputs differ from eager's, a length exceeds the
            positions of a model, or ``lengths: [task]`` is set and there is no task.
    """
    threads = threads or torch.get_num_threads()
    refuse_obstacles(settings, device, backends)
    devices.select(device)
    lengths = _task_lengths(candidates, settings)
    compared = candidates.with_control()
    key_parts = parts(candidates, settings, device, threads=threads, backends=backends)
    models = [candidate.load().to(device).eval() for candidate in compared]
    batches = timed_shapes.batches(models, settings, lengths)
    size, length = timed_shapes.largest(batches)
    model_inputs.check_lengths([candidate.name for candidate in compared], [model.config for model in models], [length])
    started, load, before = provenance.now(), machine.load(), machine.state(device)
    timings: list[Timing] = []
    preparations: list[Preparation] = []
    share = settings.max_seconds / len(settings.backends) / len(machine.thread_counts(settings.threads, device))
    with machine.stable_conditions(threads):
        flops = _flops(compared, models, batches)
        for name in settings.backends:
            say(f"latency: preparing {counted(len(compared), 'model')} for {name}, threads: {threads}")
            prepared = prepare(name, backends[name], compared, models, batches, device)
            say(f"latency: {counted(settings.rounds, 'round')} in {name}, at most {share:.3g} s")
            timings += _time(name, prepared, settings, seconds=share, seed=derive(0, key_of(key_parts), name))
            preparations += prepared.preparations
        after = machine.state(device)
        peaks = _peaks(models[: len(candidates.models)], (size, length), settings, device, threads)
        origin = run_records.provenance_of(device, started)
    return LatencyRecord(
        key=key_of(key_parts),
        parts=key_parts,
        task=candidates.task,
        settings=settings,
        reference=candidates.models[0].name,
        models=[_describe(*row) for row in zip(compared, models, [*peaks, None], strict=True)],
        timings=[timing.model_copy(update={"flops": flops[timing.model, timing.shape]}) for timing in timings],
        preparations=preparations,
        lengths=None if lengths is None else _summary(lengths),
        memory_shape=(size, length) if settings.memory else None,
        not_measured=dict(candidates.left_out),
        clocks=_pair(before.clocks, after.clocks),
        temperatures=_pair(before.temperatures, after.temperatures),
        foreign=sorted({*(before.foreign or ()), *(after.foreign or ())}),
        load=load,
        provenance=origin,
    )


def _task_lengths(candidates: Candidates, settings: LatencySpec) -> NDArray[np.int64] | None:
    if not settings.includes_task_lengths:
        return None
    if candidates.validation is None:
        raise UserError(Problem("`task` needs a suite: checkpoints have no task; use numbers", "latency.lengths"))
    return timed_shapes.task_lengths(candidates.validation)


def _time(name: str, prepared: Prepared, settings: LatencySpec, *, seconds: float, seed: int) -> list[Timing]:
    """Warm up every call on its longest batch, then time all calls in rounds, within `seconds`."""
    began, budget = time.perf_counter_ns(), int(seconds * 1e9)
    deadline = began + int(budget * timing_protocol.WARMUP_SHARE)
    warm = {
        (shape, model): timing_protocol.warm_up(call, calls=settings.warmup, deadline=deadline)
        for shape, variants in prepared.calls.items()
        for model, call in variants[-1].items()
    }
    times = timing_protocol.interleaved(prepared.calls, rounds=settings.rounds, deadline=began + budget, seed=seed)
    return [
        Timing(
            model=model,
            backend=name,
            batch_size=shape[0],
            length=shape[1],
            warmup=len(prepared.calls[shape]) + warm[shape, model].calls,
            settled=warm[shape, model].settled,
            nanoseconds=nanoseconds,
        )
        for shape, group in times.items()
        for model, nanoseconds in group.items()
    ]


def _peaks(
    models: Sequence[PreTrainedModel], shape: tuple[int, int], settings: LatencySpec, device: torch.device, threads: int
) -> list[int | None]:
    return peak_memory.peaks(models, shape, device, threads) if settings.memory else [None] * len(models)


def _flops(
    candidates: Sequence[Candidate], models: Sequence[PreTrainedModel], batches: Batches
) -> dict[tuple[str, InputShape], int]:
    """(model, shape) -> FLOPs of one call, padding included; the mean if a shape has several batches."""
    flops: dict[tuple[str, InputShape], int] = {}
    for candidate, model in zip(candidates, models, strict=True):
        by_length: dict[int, int] = {}
        for shape, group in batches.items():
            sizes = [tuple(batch["input_ids"].shape) for batch in group]
            for length in {length for _, length in sizes} - by_length.keys():
                by_length[length] = run_records.flops(model, length)
            flops[candidate.name, shape] = sum(size * by_length[length] for size, length in sizes) // len(sizes)
    return flops


def _describe(candidate: Candidate, model: PreTrainedModel, peak: int | None) -> MeasuredModel:
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


def _pair(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, list[float]]:
    return {name: [value, after[name]] for name, value in before.items() if name in after}


def _versions(packages: Iterable[str]) -> Iterable[tuple[str, str]]:
    """(name, version) of the installed packages. Some have several names, of which one is installed."""
    for name in packages:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue
