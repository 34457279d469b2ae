"""Builds the next batch in a thread while the device computes on the current one."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import torch

from harness.training.staged_stream import BatchSource
from harness.training.step_batch import StepBatch


def uses_thread(device: torch.device) -> bool:
    """Whether batches for `device` are built in a thread. Not for a CPU, which the thread would slow down."""
    return device.type != "cpu"


class Prefetcher:
    """The batches of a stream on the device, equal to those of `BatchStream.at`. A context manager that owns a thread.

    For CUDA, batches are pinned, so that the copy to the device does not block.
    """

    def __init__(self, stream: BatchSource, device: torch.device) -> None:
        self._stream = stream
        self._device = device
        self._thread = ThreadPoolExecutor(1, "batches") if uses_thread(device) else None
        self._next: tuple[int, Future[StepBatch]] | None = None

    def at(self, position: int) -> StepBatch:
        """The batch at `position`; starts to build the next one. Raises what building the batch raised."""
        if self._thread is None:
            return self._stream.at(position, self._device)
        pending, self._next = self._next, None  # a batch that could not be built is tried again by the next call
        if pending is None or pending[0] != position:
            pending = position, self._thread.submit(self._build, position)
        batch = pending[1].result()
        self._next = position + 1, self._thread.submit(self._build, position + 1)
        return batch.to(self._device)

    def _build(self, position: int) -> StepBatch:
        batch = self._stream.build(position)
        return batch.pinned() if self._device.type == "cuda" else batch

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
