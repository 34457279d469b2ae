"""Models in a backend: made ready, called once at every shape, and compared with eager, before anything is timed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from harness.api.errors import UserError
from harness.api.latency_backend import Backend, Inputs, Program
from harness.latency.agreement import agreement, deviation
from harness.latency.candidates import Candidate
from harness.latency.eager import Eager
from harness.latency.timed_shapes import probes
from harness.latency.timing_protocol import Call
from harness.storage.latency_records import InputShape, Preparation

if TYPE_CHECKING:
    from transformers import PreTrainedModel

EAGER = "eager"
"""What the others are compared with."""

Batches = Mapping[InputShape, Sequence[Inputs]]


@dataclass(frozen=True)
class Prepared:
    """All models in a backend. `calls` has for each shape its variants, and of each a call for every model by name;
    every one of them has been called once."""

    calls: Mapping[InputShape, Sequence[Mapping[str, Call]]]
    preparations: list[Preparation]


def prepare(
    name: str,
    backend: Backend,
    candidates: Sequence[Candidate],
    models: Sequence[PreTrainedModel],
    batches: Batches,
    device: torch.device,
) -> Prepared:
    """The candidates, whose loaded models are `models`, in the backend of that name.

    Raises:
        UserError: it fails, or computes something else than eager, though it is to be exact.
    """
    examples = probes(models, batches)
    calls: dict[InputShape, list[dict[str, Call]]] = {shape: [{} for _ in group] for shape, group in batches.items()}
    told: list[Preparation] = []
    for candidate, model in zip(candidates, models, strict=True):
        began = time.perf_counter()
        with _told(name, candidate.name):
            program = backend.program(model, device, examples[0])
            for shape, group in batches.items():
                for variant, batch in enumerate(group):
                    calls[shape][variant][candidate.name] = call = program.bind(batch)
                    call()
        seconds = time.perf_counter() - began
        about = Preparation(model=candidate.name, backend=name, seconds=seconds)
        if name != EAGER:
            about = _compared(about, backend, candidate, model, program, examples, device)
        told.append(about)
    return Prepared(calls, told)


def _compared(
    about: Preparation,
    backend: Backend,
    candidate: Candidate,
    model: PreTrainedModel,
    program: Program,
    batches: Sequence[Inputs],
    device: torch.device,
) -> Preparation:
    """What is told of the preparation, with how far the backend computes what eager does."""
    eager = Eager().program(model, device, batches[0])
    found: dict[str, float | int | None] = {
        "deviation": deviation(candidate.name, about.backend, program, eager, batches, exact=backend.exact)
    }
    if candidate.examples is not None and not backend.exact:
        with _told(about.backend, candidate.name):
            found |= vars(agreement(program, eager, candidate.examples))
    return about.model_copy(update=found)


@contextmanager
def _told(backend: str, model: str) -> Iterator[None]:
    """What fails inside is told in a line: a compiler, an exporter or a plugin may raise anything."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"latency: {backend} cannot run {model}: {type(error).__name__}: {lines[0]}; leave {backend!r} out of "
            "latency.backends"
        ) from error
