"""Numeric precision of training: mixed precision in bf16 or fp16, and TF32 on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

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


def matmuls(settings: TrainingSpec, device: torch.device) -> AbstractContextManager[None]:
    """Run float32 products and convolutions on a GPU in TF32 if `training.tf32` is set. Not used for scoring."""
    return tf32_products(settings.tf32, device)


@contextmanager
def tf32_products(allowed: bool, device: torch.device) -> Iterator[None]:
    """Run float32 matrix products and convolutions on a GPU in TF32, or not, which is not torch's default for both."""
    if device.type != "cuda":  # the setting also affects some CPUs
        yield
        return
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    _set_tf32("high" if allowed else "highest", allowed)
    try:
        yield
    finally:
        _set_tf32(*before)


def _set_tf32(products: str, convolutions: bool) -> None:
    torch.set_float32_matmul_precision(products)
    torch.backends.cudnn.allow_tf32 = convolutions
