"""Recognizes out-of-memory errors of every device."""

from __future__ import annotations

import torch

OUT_OF_MEMORY_MESSAGES = (
    "DefaultCPUAllocator: can't allocate memory",
    "MPS backend out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDA error: out of memory",  # of the driver: for kernels, pinned memory, events
)
"""Texts of out-of-memory errors that have no exception class of their own."""


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether `error` reports that memory did not suffice, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in OUT_OF_MEMORY_MESSAGES)
