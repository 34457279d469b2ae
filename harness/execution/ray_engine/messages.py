"""What the driver and the workers tell each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the mailbox reads messages, and needs neither torch nor transformers
    from harness.execution.ray_engine.transport import Files
    from harness.planning.job_graph import JobKind

Event = tuple[str, object]
"""An observer hook and its event; or ``log``, and the level and text of a log record."""


@dataclass(frozen=True)
class Assignment:
    """What a worker has to do.

    Attributes:
        attempt: number of the attempt, unique in an execution.
        kind: kind of the job.
        artifacts: keys of the artifacts to build.
        threads: CPU threads of torch.
        gpus: GPUs that the worker may use, 0 on a CPU.
        cache_mark: name of a file in the driver's cache; a worker that finds it shares the cache with the driver.
        files: checkpoints and records from which the job continues.
        needs: name of a folder in the cache that it reads -> the digest of the driver's folder.
        digests: path of a model or plugin on the driver's machine -> its checksum.
        sent: name or path of a folder that a worker lacked -> reference to its files.
    """

    attempt: int
    kind: JobKind
    artifacts: tuple[str, ...]
    threads: int
    gpus: float
    cache_mark: str
    files: Files
    needs: Mapping[str, str]
    digests: Mapping[str, str]
    sent: Mapping[str, Any]


@dataclass(frozen=True)
class Ended:
    """An artifact that was built, or why it could not be built, and its files."""

    artifact: str
    error: str | None
    files: Files


@dataclass(frozen=True)
class Message:
    """A worker's message to the driver.

    Attributes:
        attempt: number of the attempt.
        events: what happened since the last message.
        checkpoints: those that changed since then.
        removed: names of those that were removed since then.
        ended: an artifact that ended.
    """

    attempt: int
    events: tuple[Event, ...] = ()
    checkpoints: Files = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    ended: Ended | None = None


@dataclass(frozen=True)
class Reply:
    """How an attempt ended.

    Attributes:
        lacks: names and paths of folders that the worker needs, and has not; it has done nothing then.
        errors: why no job can be executed on the worker's machine: a full disk, another version of kd-harness.
    """

    lacks: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
