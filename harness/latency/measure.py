"""From models to a record: each backend in turn, all models side by side in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch

from harness.errors import Problem, UserError
from harness.identity import derive, key
from harness.latency import VERSION, inputs, machine, protocol
from harness.latency.backends import BACKENDS, Program, check_equal
from harness.latency.candidates import Candidate, Candidates
from harness.results import provenance
from harness.results.records import Provenance
from harness.results.timings import LatencyRecord, MeasuredModel, Timing
from harness.suite.schema import LatencySpec

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PACKAGES = ("torch", "transformers")
"""Whose versions are part of the key, and onnxruntime's where it is used."""

Shape = tuple[int, int]


def refuse_obstacles(settings: LatencySpec, device: torch.device) -> None:
    """Raise `UserError` for backends that cannot be used here, before anything is trained or loaded."""
    reasons = [BACKENDS[name].obstacle(device) for name in settings.backends]
    problems = [Problem(reason, "latency.backends") for reason in reasons if reason]
    if problems:
        raise UserError(*problems)


def parts(candidates: Candidates, settings: LatencySpec, device: torch.device) -> dict[str, Any]:
    """All that determines a measurement, but for the moment: models, settings, hardware, packages, protocol."""
    hardware = provenance.hardware(str(device))
    hardware = hardware.model_copy(update={"threads": settings.threads or hardware.threads})
    used = [*PACKAGES, *(["onnxruntime"] if "onnx" in settings.backends else [])]
    return {
        "models": [{"name": m.name, "role": m.role, "identity": dict(m.identity)} for m in candidates.models],
        "task": candidates.task,
        "settings": settings.model_dump(),
        "hardware": hardware.model_dump(),
        "packages": {name: version(name) for name in used},
        "code": VERSION,
    }


def measure(
    candidates: Candidates, settings: LatencySpec, device: torch.device, *, say: Callable[[str], None]
) -> LatencyRecord:
    """Measure now. `say` is told, in a line, what is about to happen.

    Raises:
        UserError: a backend cannot be used or computes something else than eager, or a model is too short for a length.
    """
    refuse_obstacles(settings, device)
    listed = candidates.with_control()
    made_of = parts(candidates, settings, device)
    models = [candidate.load().to(device).eval() for candidate in listed]
    inputs.check_lengths([candidate.name for candidate in listed], models, settings.lengths)
    started, load, before = provenance.now(), machine.load(), machine.clocks(device)
    timings: list[Timing] = []
    with machine.held_still(settings.threads):
        for backend in settings.backends:
            say(f"latency: preparing {len(listed)} models for {backend}")
            programs = _programs(backend, listed, models, settings, device)
            say(f"latency: {settings.rounds} rounds in {backend}, at most {settings.max_seconds:g} s for all backends")
            timings += _time(backend, programs, models, settings, seed=derive(0, key(made_of), backend))
        after = machine.clocks(device)
        commit, dirty = provenance.git()
        return LatencyRecord(
            key=key(made_of),
            parts=made_of,
            task=candidates.task,
            settings=settings,
            reference=candidates.models[0].name,
            models=[_described(candidate, model) for candidate, model in zip(listed, models, strict=True)],
            timings=timings,
            not_measured=dict(candidates.left_out),
            clocks={name: [mhz, after[name]] for name, mhz in before.items() if name in after},
            load=load,
            provenance=Provenance(
                hardware=provenance.hardware(str(device)),
                packages=provenance.packages(),
                git_commit=commit,
                git_dirty=dirty,
                started=started,
                ended=provenance.now(),
            ),
        )


def _programs(
    backend: str,
    candidates: Sequence[Candidate],
    models: Sequence[PreTrainedModel],
    settings: LatencySpec,
    device: torch.device,
) -> dict[str, Program]:
    """The models in a backend, seen to compute what they do in eager: on batches with padding, of two shapes."""
    sizes = {(max(2, pick(settings.batch_sizes)), pick(settings.lengths)) for pick in (min, max)}
    batches = [inputs.batch(models, *shape, padded=True) for shape in sorted(sizes)]
    programs: dict[str, Program] = {}
    for candidate, model in zip(candidates, models, strict=True):
        programs[candidate.name] = BACKENDS[backend].program(model, device, batches[0])
        if backend != "eager":
            eager = BACKENDS["eager"].program(model, device, batches[0])
            check_equal(candidate.name, backend, programs[candidate.name], eager, batches)
    return programs


def _time(
    backend: str,
    programs: Mapping[str, Program],
    models: Sequence[PreTrainedModel],
    settings: LatencySpec,
    *,
    seed: int,
) -> list[Timing]:
    """Warm up every call, then time them in rounds, within this backend's share of the time."""
    began, budget = time.perf_counter_ns(), int(settings.max_seconds * 1e9 / len(settings.backends))
    calls: dict[Shape, dict[str, protocol.Call]] = {}
    for size in sorted(set(settings.batch_sizes)):
        for length in sorted(set(settings.lengths)):
            example = inputs.batch(models, size, length)
            calls[size, length] = {name: program.bind(example) for name, program in programs.items()}
    deadline = began + int(budget * protocol.WARMUP_SHARE)
    warm = {
        (shape, name): protocol.warm_up(call, calls=settings.warmup, deadline=deadline)
        for shape, group in calls.items()
        for name, call in group.items()
    }
    times = protocol.interleaved(calls, rounds=settings.rounds, deadline=began + budget, seed=seed)
    return [
        Timing(
            model=name,
            backend=backend,
            batch_size=shape[0],
            length=shape[1],
            warmup=warm[shape, name].calls,
            settled=warm[shape, name].settled,
            nanoseconds=taken,
        )
        for shape, group in times.items()
        for name, taken in group.items()
    ]


def _described(candidate: Candidate, model: PreTrainedModel) -> MeasuredModel:
    return MeasuredModel(
        name=candidate.name,
        role=candidate.role,
        of=candidate.of,
        source=candidate.source,
        kind=type(model).__name__,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        dtype=str(model.dtype).removeprefix("torch."),
    )
