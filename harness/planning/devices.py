"""List, check and select the devices of this machine."""

from __future__ import annotations

import platform

import torch

from harness.api.errors import Problem, UserError, first_line
from harness.storage.disk_errors import AGAIN


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
    """Make a GPU the current device of this thread, which events and pinned memory use, and check that it works.

    ``cuda`` without a number is the current one already.

    Raises:
        UserError: the GPU cannot be used, such as one that is broken, or that another process has for itself alone.
    """
    if device.type != "cuda":
        return
    try:
        if device.index is not None:
            torch.cuda.set_device(device)
        torch.cuda.synchronize()
    except RuntimeError as error:
        reason = first_line(error)
        raise UserError(
            f"{platform.node()}: the GPU cannot be used ({reason}). Check it with nvidia-smi, {AGAIN}"
        ) from error


def selected(name: str | None) -> torch.device:
    """Select the device with this name, None: the default one, and return it.

    Raises:
        UserError: it is not available, or cannot be used.
    """
    refuse_absent(name)
    device = torch.device(name or best_device())
    select(device)
    return device


def release_cached_memory() -> None:
    """Return the GPU memory that torch keeps for later tensors: other processes on the card cannot use it."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


def refuse_absent(device: str | None) -> None:
    """Raise `UserError` if `device` is not available on this machine. None stands for the default device."""
    if device is not None and device not in (available := there()):
        raise UserError(Problem(f"there is no {device} here; there is {', '.join(available)}", "device"))
