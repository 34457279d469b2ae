"""What jobs need of the process that executes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from harness.plugin_host.host import Host
from harness.storage.store import Store


@dataclass(frozen=True)
class JobContext:
    """Where a job is executed.

    Attributes:
        store: the results folder.
        host: plugins: metrics, and observers that receive events.
        device: where models run.
        trust_remote_code: whether checkpoints may bring code of their own.
        stop: whether the process was asked to stop. A job then saves its state and raises `Interrupted`.
    """

    store: Store
    host: Host
    device: torch.device
    trust_remote_code: bool
    stop: Callable[[], bool]
