"""The devices of this machine."""

from __future__ import annotations

import torch

from harness.api.errors import Problem, UserError


def best_device() -> str:
    """What a suite takes that names none."""
    return there()[-1]


def there() -> list[str]:
    """Their names, as suites write them; the best last."""
    found = ["cpu"]
    if torch.backends.mps.is_available():
        found.append("mps")
    if torch.cuda.is_available():
        found += [*(f"cuda:{index}" for index in range(torch.cuda.device_count())), "cuda"]
    return found


def refuse_absent(device: str | None) -> None:
    """Raise `UserError` for a device that this machine has not; None: what it has."""
    if device is not None and device not in (found := there()):
        raise UserError(Problem(f"there is no {device} here; there is {', '.join(found)}", "device"))
