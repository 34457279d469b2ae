"""Running means of losses. They are summed on the device and read only when they are logged."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor


class NonFiniteLoss(ArithmeticError):
    """A loss became NaN or infinite."""


class MetricsLog:
    """Weighted sums of named scalars since the last `read`."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, float] = {}

    def add(self, name: str, value: float | Tensor, weight: float = 1.0) -> None:
        """Add a scalar. Does not wait for the device."""
        scalar = value.detach().float() if isinstance(value, Tensor) else torch.tensor(float(value))
        scalar = scalar if weight == 1 else scalar * weight
        self._sums[name] = self._sums[name] + scalar if name in self._sums else scalar
        self._counts[name] = self._counts.get(name, 0) + weight

    def read(self) -> dict[str, float]:
        """Return the weighted means by name, and reset. Waits for the device.

        Raises:
            NonFiniteLoss: a mean is not finite; the message names it.
        """
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        self._sums.clear()
        self._counts.clear()
        for name, mean in means.items():
            if not math.isfinite(mean):
                raise NonFiniteLoss(f"{name} is {mean}")
        return means

    def state_dict(self) -> dict[str, dict[str, float]]:
        return {"sums": {name: float(total) for name, total in self._sums.items()}, "counts": dict(self._counts)}

    def load_state_dict(self, state: Mapping[str, Mapping[str, float]], device: torch.device) -> None:
        self._sums = {name: torch.tensor(total, device=device) for name, total in state["sums"].items()}
        self._counts = dict(state["counts"])
