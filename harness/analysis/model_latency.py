"""The measured latency of a model at the shape of the board's speed-ups, on each machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.analysis.speed_up import batch_of, board_shape, machine, milliseconds, one_per_machine
from harness.analysis.summary import Summary
from harness.storage.latency_records import InputShape, Ratio
from harness.storage.records import Hardware


@dataclass(frozen=True)
class ModelLatency:
    """The latency of one model in one backend on one machine.

    Attributes:
        seconds: median of the times.
        p90: 90th percentile in seconds; None if there are too few calls.
        speed_up: how many times faster than the model `reference`.
    """

    hardware: Hardware
    backend: str
    shape: InputShape
    seconds: float
    p90: float | None
    speed_up: Ratio
    reference: str

    @property
    def where(self) -> str:
        """``eager, batch 1 of 128 tokens, on cpu, AMD EPYC, 2 cores, 1 thread``: what was timed, and where."""
        return f"{self.backend}, {batch_of(self.shape)}, on {machine(self.hardware)}"

    @property
    def median(self) -> str:
        """``4.31 ms``."""
        return f"{milliseconds(self.seconds)} ms"


def model_latencies(summary: Summary, name: str, *, backends: Sequence[str] = ()) -> tuple[ModelLatency, ...]:
    """The latencies of the student or teacher `name`, one for each machine; empty if it was not measured.

    Args:
        backends: the first one of these that was measured is taken, else the backend of the board's speed-ups.
    """
    return tuple(_latencies(summary, name, backends))


def _latencies(summary: Summary, name: str, backends: Sequence[str]) -> Iterator[ModelLatency]:
    settings = summary.plan.latency
    if settings is None:
        return
    chosen = next((backend for backend in backends if backend in settings.backends), settings.backends[0])
    shape = board_shape(settings)
    for record in one_per_machine(summary.latencies):
        for timing in record.at(chosen, shape):
            if timing.model == name:
                yield ModelLatency(
                    hardware=record.provenance.hardware,
                    backend=chosen,
                    shape=shape,
                    seconds=timing.percentile(0.5),
                    p90=timing.p90,
                    speed_up=record.ratio(timing).inverse,
                    reference=record.reference,
                )
