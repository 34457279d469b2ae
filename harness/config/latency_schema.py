"""Pydantic models of `latency` in a suite file, and of `harness latency` on checkpoints."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harness.config.setting_types import Device, Positive, Threads
from harness.config.strict_model import Strict


class LatencySpec(Strict):
    """Shapes, backends and time limit of the latency measurement."""

    batch_sizes: Annotated[list[Positive], Field(min_length=1)] = Field([1, 8, 32], description="examples of a call")
    lengths: Annotated[list[Positive | Literal["task"]], Field(min_length=1)] = Field(
        [32, 128], description="tokens of an example; `task`: the lengths of the task's validation examples"
    )
    backends: Annotated[list[str], Field(min_length=1)] = Field(
        ["eager", "onnx"], description="eager, compile, onnx, onnx-int8, or a backend of a plugin"
    )
    rounds: Positive = Field(50, description="each round times every model once at every shape; below 6: no intervals")
    warmup: Positive = Field(
        50, description="warm-up calls of a model at a shape, at most; ends early when the median is stable"
    )
    max_seconds: Annotated[float, Field(gt=0)] = Field(
        600.0, description="time limit of warm-up and rounds, over all backends and thread counts"
    )
    threads: Threads | Annotated[list[Threads], Field(min_length=1)] | None = Field(
        None, description="CPU threads; default: 1 and all cores; on an accelerator, the default of torch"
    )
    memory: bool = Field(True, description="measure the peak memory of each model, in a separate process")

    @property
    def fixed_lengths(self) -> list[int]:
        """The numbers in `lengths`, sorted."""
        return sorted({length for length in self.lengths if length != "task"})

    @property
    def includes_task_lengths(self) -> bool:
        """Whether `lengths` includes `task`."""
        return "task" in self.lengths


class CheckpointsSpec(Strict):
    """Settings of `harness latency` for checkpoints outside of a suite."""

    latency: LatencySpec = LatencySpec()
    device: Device | None = None
    trust_remote_code: bool = False
