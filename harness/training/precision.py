"""Numeric precision of training: mixed precision in bf16 or fp16, and TF32 on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from harness.config.training_schema import TrainingSpec

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@contextmanager
def autocast(settings: TrainingSpec, device: torch.device) -> Iterator[None]:
    """Run forward passes in the suite's `training.precision`. Weights and gradients stay in float32."""
    half = HALF.get(settings.precision)
    if half is None:
        yield
        return
    with torch.autocast(device.type, half):
        yield


@contextmanager
def matmuls(settings: TrainingSpec, device: torch.device) -> Iterator[None]:
    """Run float32 matrix products on a GPU in TF32 if `training.tf32` is set. Not used for scoring."""
    if device.type != "cuda":  # the setting also affects some CPUs
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if settings.tf32 else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
