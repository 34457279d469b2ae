"""Notices that this process cannot use its GPU any more."""

from __future__ import annotations

import torch

from harness.api.errors import UserError, first_line
from harness.planning import devices
from harness.storage.disk_errors import AGAIN


class DeviceError(UserError):
    """This process cannot use its GPU any more. Not a fault of a run: it stops the suite, which can be resumed."""


def check(failed: str, reason: str) -> None:
    """Raise `DeviceError` if the current GPU cannot be used. Call this after a failure, before it is stored.

    After an error of the card or in a kernel, such as that of an index out of range, CUDA refuses everything that the
    process does on the GPU. All remaining runs would fail, also those that processes with other GPUs could train.

    Args:
        failed: the title of what has failed.
        reason: its error.
    """
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return
    try:
        torch.cuda.synchronize()
    except RuntimeError as error:
        before, same, _ = reason.partition(first_line(error))  # torch adds sentences of general advice
        raise DeviceError(_message(error, f"in {failed}: {before}{same}")) from error


def release_cached_memory(title: str) -> None:
    """Release the cached memory of the GPU after a job with this title, see `devices.release_cached_memory`.

    Raises:
        DeviceError: the GPU cannot be used. A kernel of the job may report its error only now.
    """
    try:
        devices.release_cached_memory()
    except RuntimeError as error:
        raise DeviceError(_message(error, f"after {title}")) from error


def _message(error: RuntimeError, noticed: str) -> str:
    return (
        f"this process cannot use its GPU any more ({first_line(error)}), noticed {noticed}. Check the card with"
        f" nvidia-smi, {AGAIN}. If it stops again, a method may use an index out of range: with CUDA_LAUNCH_BLOCKING=1"
        " it is noticed in the run that causes it"
    )
