"""List, check and select the devices of this machine."""

from __future__ import annotations

import torch

from harness.api.errors import Problem, UserError


def best_device() -> str:
    """Return the device that is used if the suite names none."""
    return there()[-1]


def there() -> list[str]:
    """Return the names of the available devices, as written in suites, the preferred one last."""
    names = ["cpu"]
    if torch.backends.mps.is_available():
        names.append("mps")
    if torch.cuda.is_available():
        names += [*(f"cuda:{index}" for index in range(torch.cuda.device_count())), "cuda"]
    return names


def select(device: torch.device) -> None:
    """Make a GPU the current device of this thread, which events and pinned memory use.

    ``cuda`` without a number is the current one already.
    """
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)


def release_cached_memory() -> None:
    """Return the GPU memory that torch keeps for later tensors: other processes on the card cannot use it."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


def refuse_absent(device: str | None) -> None:
    """Raise `UserError` if `device` is not available on this machine. None stands for the default device."""
    if device is not None and device not in (available := there()):
        raise UserError(Problem(f"there is no {device} here; there is {', '.join(available)}", "device"))
