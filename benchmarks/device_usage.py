"""How a contestant uses the device: tokens per second, model FLOP utilization, busy time and peak memory."""

from __future__ import annotations

import gc
import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch.utils.flop_counter import FlopCounterMode

from harness.api.latency_backend import synchronize

if TYPE_CHECKING:
    from harness.latency.timing_protocol import Call

PEAK_TFLOPS: Mapping[str, Mapping[str, float]] = {
    "H100": {"bf16": 989, "fp32": 67},
    "H100 PCIe": {"bf16": 756, "fp32": 51},
    "H100 NVL": {"bf16": 835, "fp32": 60},
    "H200": {"bf16": 989, "fp32": 67},
    "H200 NVL": {"bf16": 835, "fp32": 60},
    "A100": {"bf16": 312, "fp32": 19.5},
    "A10": {"bf16": 125, "fp32": 31.2},
    "L4": {"bf16": 121, "fp32": 30.3},
    "L40S": {"bf16": 362, "fp32": 91.6},
}
"""Peak TFLOP/s of cards, of dense matrix products and without TF32, from NVIDIA's data sheets."""


class Usage(BaseModel):
    """What a call of a contestant takes. Values other than `tokens` are measured on CUDA only.

    The median time of the contestant turns them into rates, so that the measurement itself does not slow them down.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: int = Field(description="tokens that all students of a call train on")
    flops: int | None = Field(None, description="floating-point operations of matrix products and attention")
    busy_seconds: float | None = Field(None, description="time in which the device executes a kernel or a copy")
    peak_memory_bytes: int | None = Field(None, description="most memory that torch had allocated")


def of(
    contestants: Mapping[str, Callable[[], Call]], tokens: Mapping[str, int], device: torch.device
) -> dict[str, Usage]:
    """The usage of the contestants in `tokens`, which has the tokens of a call. On CUDA each is called three times."""
    if device.type != "cuda":
        return {name: Usage(tokens=count) for name, count in tokens.items()}
    return {name: _measured(contestants[name], count, device) for name, count in tokens.items()}


def _measured(contestant: Callable[[], Call], tokens: int, device: torch.device) -> Usage:
    return Usage(
        tokens=tokens,
        flops=counted_flops(contestant()),
        busy_seconds=_busy_seconds(contestant(), device),
        peak_memory_bytes=_peak_memory(contestant(), device),
    )


def counted_flops(call: Call) -> int:
    """The floating-point operations of a call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def _busy_seconds(call: Call, device: torch.device) -> float:
    from torch.profiler import ProfilerActivity, profile

    synchronize(device)
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        call()
        synchronize(device)
    events = (
        event for event in profiler.events() or () if event.device_type.name == "CUDA" and not event.is_user_annotation
    )
    return covered((event.time_range.start, event.time_range.end) for event in events) / 1e6


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """The length of the union of intervals: kernels of several streams overlap."""
    total, end = 0.0, float("-inf")
    for start, stop in sorted(intervals):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


def _peak_memory(call: Call, device: torch.device) -> int:
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    call()
    return int(torch.cuda.max_memory_allocated(device))


def peak_flops(card: str, precision: str) -> float | None:
    """Peak FLOP/s of a card by its name; None for one that is not in the table, and for a part of a card (MIG)."""
    words = [name for name in PEAK_TFLOPS if re.search(rf"\b{re.escape(name)}\b", card) and " MIG " not in card]
    return PEAK_TFLOPS[max(words, key=len)][precision] * 1e12 if words else None


HEADERS = ["what", "tokens/s", "FLOP utilization", "device busy", "peak memory"]


def rows(
    usage: Mapping[str, Usage], nanoseconds: Mapping[str, Sequence[int]], peak: float | None
) -> Iterator[list[str]]:
    """The cells of each contestant, from its median time; `peak` is in FLOP/s."""
    for name, used in usage.items():
        seconds = statistics.median(nanoseconds[name]) / 1e9
        yield [
            name,
            f"{used.tokens / seconds:,.0f}",
            f"{used.flops / seconds / peak:.1%}" if used.flops is not None and peak else "",
            f"{min(1.0, used.busy_seconds / seconds):.0%}" if used.busy_seconds is not None else "",
            f"{used.peak_memory_bytes / 2**30:.2f} GiB" if used.peak_memory_bytes is not None else "",
        ]
