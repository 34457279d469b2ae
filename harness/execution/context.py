"""The environment in which jobs are executed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from harness.execution.claims import Claims
from harness.plugin_host.host import Host
from harness.storage.store import Store


@dataclass(frozen=True)
class JobContext:
    """The environment in which a job is executed.

    Attributes:
        store: the results folder.
        host: the plugin host, which has the metrics and the observers that receive events.
        device: device on which models run.
        trust_remote_code: whether code from checkpoints may be executed.
        claims: the claims of this process on artifacts, so that no other process builds them at the same time.
        stop: returns whether the process was asked to stop. A job then saves its state and raises `Interrupted`.
    """

    store: Store
    host: Host
    device: torch.device
    trust_remote_code: bool
    claims: Claims
    stop: Callable[[], bool]
