"""In which numbers a forward pass computes: the weights' own, or half of them, and TF32 on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from harness.config.schema import TrainingSpec

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@contextmanager
def autocast(settings: TrainingSpec, device: torch.device) -> Iterator[None]:
    """Forward passes in the suite's precision. Weights, gradients and sums stay in float32."""
    half = HALF.get(settings.precision)
    if half is None:
        yield
        return
    with torch.autocast(device.type, half):
        yield


@contextmanager
def matmuls(settings: TrainingSpec, device: torch.device) -> Iterator[None]:
    """Forward and backward passes whose float32 products take TF32 on a GPU, if the suite says so: eight bits of
    exponent and ten of mantissa, several times faster. Scoring is never inside."""
    if device.type != "cuda":  # the setting would change what some processors do, too
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if settings.tf32 else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
