"""Batches in parts: what does not fit in memory whole is done in halves, and halves of these."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")

SIGNS = ("DefaultCPUAllocator: can't allocate memory", "MPS backend out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""In messages of errors that have no class of their own."""


class InsufficientMemory(MemoryError):
    """Memory does not suffice, and what was tried cannot be done in smaller parts. Nothing has changed."""


def ran_out_of_memory(error: Exception) -> bool:
    """Whether the error says that memory did not suffice, on whatever device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)


@contextmanager
def told() -> Iterator[None]:
    """Whatever says inside that memory did not suffice becomes a `InsufficientMemory`."""
    try:
        yield
    except Exception as error:
        if isinstance(error, InsufficientMemory) or not ran_out_of_memory(error):
            raise
        raise InsufficientMemory(_reason(error)) from None


def parts(count: int, size: int) -> Iterator[slice]:
    """`count` examples in consecutive parts of `size`, the last of what is left."""
    return (slice(first, min(first + size, count)) for first in range(0, count, size))


def fitting(do: Callable[[int], T], size: int, *, splits: bool = True) -> tuple[T, int]:
    """What `do` gives for parts of `size` examples, or of the first half, quarter, ... for which memory suffices; and
    that size. `do` begins anew each time.

    Raises:
        InsufficientMemory: memory does not suffice for one example, or for the whole batch where `splits` is false.
    """
    while True:
        try:
            return do(size), size
        except Exception as error:
            if not ran_out_of_memory(error):
                raise
            reason = _reason(error)
        # Only here, outside of the handler, is what the failed attempt held free again.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if not splits or size == 1:
            raise InsufficientMemory(reason)
        size = (size + 1) // 2


def _reason(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
