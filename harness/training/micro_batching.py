"""Micro-batches: a batch that does not fit in memory is computed in halves, quarters, and so on."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import torch

from harness.api.errors import first_line
from harness.models.memory_errors import ran_out_of_memory


class InsufficientMemory(MemoryError):
    """Memory does not suffice, and the computation cannot be split further. Nothing has changed."""


@contextmanager
def convert_memory_errors() -> Iterator[None]:
    """Raise every out-of-memory error of the block as `InsufficientMemory`. Frees what the block has computed."""
    try:
        yield
    except Exception as error:
        if isinstance(error, InsufficientMemory) or not ran_out_of_memory(error):
            raise
        raise InsufficientMemory(_reason(error)) from None


def slices(count: int, size: int) -> Iterator[slice]:
    """Split `count` examples into consecutive micro-batches of `size`; the last one may be smaller."""
    return (slice(first, min(first + size, count)) for first in range(0, count, size))


class MemoryRetry:
    """Repeats a computation with micro-batches of half the size until memory suffices.

    Iterate over it for the sizes to try; use it as a context manager around each attempt::

        retry = MemoryRetry(batch_size)
        for size in retry:
            with retry:
                outputs = compute(batch, size)

    An out-of-memory error inside the context starts the next attempt; every other error propagates. After the loop
    `size` is the size that fitted.

    Args:
        size: examples of a micro-batch in the first attempt.
        can_split: False: there is one attempt only.

    Raises:
        InsufficientMemory: memory does not suffice for one example, or the batch cannot be split.
    """

    def __init__(self, size: int, *, can_split: bool = True) -> None:
        self.size = size
        self._can_split = can_split
        self._failure: str | None = None

    def __iter__(self) -> Iterator[int]:
        while True:
            self._failure = None
            yield self.size
            if self._failure is None:
                return
            # The tensors of the failed attempt have been freed by now.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if not self._can_split or self.size == 1:
                raise InsufficientMemory(self._failure)
            self.size = (self.size + 1) // 2

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None or not ran_out_of_memory(error):
            return False
        self._failure = _reason(error)
        return True


def _reason(error: BaseException) -> str:
    """The first line of the error. Frees the variables of the calls that it has ended.

    They hold the tensors for which memory does not suffice. The error, which is the context of the one that is raised
    in its place, keeps them until that is handled; one that refers to itself, as by `raise error` of an argument, keeps
    them until a garbage collection.
    """
    traceback.clear_frames(error.__traceback__)
    return first_line(error)
