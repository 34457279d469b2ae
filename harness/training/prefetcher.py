"""Batches one step ahead: made by a thread while the device is at work on those before."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import torch

from harness.training.staged_stream import BatchSource
from harness.training.step_batch import StepBatch


def pays(device: torch.device) -> bool:
    """Whether the host is free while the device computes. Where it computes itself, a thread would only be in its
    way."""
    return device.type != "cpu"


class Prefetcher:
    """A stream's batches on the device, the same as `BatchStream.at` gives. To be closed: it may own a thread.

    On CUDA they are pinned: their copies to the device are queued behind its work, and nothing waits for them.
    """

    def __init__(self, stream: BatchSource, device: torch.device) -> None:
        self._stream = stream
        self._device = device
        self._thread = ThreadPoolExecutor(1, "batches") if pays(device) else None
        self._next: tuple[int, Future[StepBatch]] | None = None

    def at(self, position: int) -> StepBatch:
        """The batch at that place of the sequence; the one after it is begun."""
        if self._thread is None:
            return self._stream.at(position, self._device)
        awaited, self._next = self._next, None  # one that cannot be made is tried anew the next time
        if awaited is None or awaited[0] != position:
            awaited = position, self._thread.submit(self._made, position)
        made = awaited[1].result()
        self._next = position + 1, self._thread.submit(self._made, position + 1)
        return made.to(self._device)

    def _made(self, position: int) -> StepBatch:
        made = self._stream.made(position)
        return made.pinned() if self._device.type == "cuda" else made

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
