"""From the machine's memory to the device, without waiting for the device."""

from __future__ import annotations

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device. A GPU copies it by itself, behind what it is at, from memory that is pinned; from any
    other the copy would wait for the device."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
