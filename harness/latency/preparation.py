"""Prepares models in a backend: builds programs, calls each once per shape, and compares outputs with eager."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harness.api.errors import UserError
from harness.api.latency_backend import Backend, Inputs, Outputs, Program
from harness.latency.agreement import agreement, deviation
from harness.latency.candidates import Candidate
from harness.latency.eager import Eager
from harness.latency.model_inputs import accepted_inputs, select_inputs
from harness.latency.timed_shapes import probes
from harness.latency.timing_protocol import Call
from harness.storage.latency_records import InputShape, Preparation

if TYPE_CHECKING:
    from transformers import PreTrainedModel

EAGER = "eager"
"""The backend that the others are compared with."""

Batches = Mapping[InputShape, Sequence[Inputs]]


@dataclass(frozen=True)
class Prepared:
    """All models in one backend.

    Attributes:
        calls: shape -> for each batch of that shape, model name -> call. Each has been called once.
    """

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
    """Prepare the candidates, whose loaded models are `models`, in the backend `name`.

    Raises:
        UserError: the backend fails, or is exact and its outputs differ from eager's.
    """
    examples = probes(models, batches)
    calls: dict[InputShape, list[dict[str, Call]]] = {shape: [{} for _ in group] for shape, group in batches.items()}
    preparations: list[Preparation] = []
    for candidate, model in zip(candidates, models, strict=True):
        started = time.perf_counter()
        with _as_user_error(name, candidate.name):
            program = _ProgramOfModel.prepared(backend, model, device, examples[0])
            for shape, group in batches.items():
                for variant, batch in enumerate(group):
                    calls[shape][variant][candidate.name] = call = program.bind(batch)
                    _check_outputs(call())
        seconds = time.perf_counter() - started
        preparation = Preparation(model=candidate.name, backend=name, seconds=seconds)
        if name != EAGER:
            preparation = _compare(preparation, backend, candidate, model, program, examples, device)
        preparations.append(preparation)
    return Prepared(calls, preparations)


def _compare(
    preparation: Preparation,
    backend: Backend,
    candidate: Candidate,
    model: PreTrainedModel,
    program: Program,
    batches: Sequence[Inputs],
    device: torch.device,
) -> Preparation:
    """Add the deviation from eager and, for an inexact backend, the agreement of predictions."""
    eager = _ProgramOfModel.prepared(Eager(), model, device, batches[0])
    comparison: dict[str, float | int | None] = {
        "deviation": deviation(candidate.name, preparation.backend, program, eager, batches, exact=backend.exact)
    }
    if candidate.examples is not None and not backend.exact:
        with _as_user_error(preparation.backend, candidate.name):
            comparison |= vars(agreement(program, eager, candidate.examples))
    return preparation.model_copy(update=comparison)


@dataclass(frozen=True)
class _ProgramOfModel:
    """A backend's program, which receives the inputs that its model uses, and no others."""

    program: Program
    names: Sequence[str]

    @classmethod
    def prepared(
        cls, backend: Backend, model: PreTrainedModel, device: torch.device, example: Inputs
    ) -> _ProgramOfModel:
        """Let the backend prepare the model. Raises `TypeError` if it returns no program."""
        names = accepted_inputs(model)
        program = backend.program(model, device, select_inputs(names, example))
        if not callable(getattr(program, "bind", None)):
            expected = "expected a harness.api.latency_backend.Program, which has bind(inputs)"
            raise TypeError(f"program() returned a {type(program).__name__}; {expected}")
        return cls(program, names)

    def bind(self, inputs: Inputs) -> Callable[[], Outputs]:
        """Bind the model's own inputs. Raises `TypeError` if the program returns no call."""
        call = self.program.bind(select_inputs(self.names, inputs))
        if not callable(call):
            raise TypeError(f"bind() returned a {type(call).__name__}; expected a function without arguments")
        return call


def _check_outputs(outputs: Any) -> None:
    """Raise `TypeError` unless the outputs of a call are arrays in host memory."""
    if not (isinstance(outputs, Sequence) and all(isinstance(output, np.ndarray) for output in outputs)):
        found = type(outputs).__name__
        if isinstance(outputs, Sequence):
            found += " of " + ", ".join(type(output).__name__ for output in outputs)
        raise TypeError(f"the call returned a {found}; expected a sequence of numpy arrays, one for each output")


@contextmanager
def _as_user_error(backend: str, model: str) -> Iterator[None]:
    """Turn any exception into a `UserError` of one line: a compiler, an exporter or a plugin may raise anything."""
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
