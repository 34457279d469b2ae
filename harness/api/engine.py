"""The interface of engines, which execute the jobs of a suite.

An engine is a function of an `Execution`. It decides which job is built when; a job knows how it is built. This is the
whole engine `local`::

    def execute(execution: Execution) -> None:
        with execution.jobs() as jobs:
            while ready := jobs.ready():
                jobs.build_one(ready)
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


class Interrupted(Exception):
    """A signal, or an engine, stopped the work. All state that is needed to continue is saved."""


@dataclass(frozen=True)
class EngineOptions:
    """What a user asks of an engine. None of these options changes a result.

    Attributes:
        workers: number of workers that share the jobs; cohorts are split where that saves time. None: one, or as
            many as fit into the cluster of an engine that starts workers.
        address: address of the cluster, for engines that use one. None: the engine starts one on this machine.
        gpus_per_worker: number of GPUs that a worker uses, for engines that start workers. Below 1, workers share one.
    """

    workers: int | None = None
    address: str | None = None
    gpus_per_worker: float = 1.0


@dataclass(frozen=True)
class Resources:
    """What a job takes: a device (``cpu``, ``cuda:0``), CPU threads, estimated memory in bytes of the device.

    `exclusive`: no other job may run on the machine at the same time.
    """

    device: str
    threads: int
    memory_bytes: int
    exclusive: bool = False


class Job(Protocol):
    """A unit of work: a teacher to fine-tune, a cohort of students to train, and so on."""

    @property
    def key(self) -> str:
        """Unique key among the jobs of the suite."""

    @property
    def kind(self) -> str:
        """Kind of work: text stage, augmentation, teacher, assistant, teacher outputs, tuning or cohort."""

    @property
    def title(self) -> str:
        """What it builds, for people: ``teacher base on sst2``."""

    @property
    def task(self) -> str:
        """The task; empty if it is not for a single one."""

    @property
    def seconds(self) -> float:
        """Estimated time."""

    @property
    def resources(self) -> Resources:
        """What it takes."""


class Jobs(Protocol):
    """The jobs that remain of a suite. Call it from the thread that opened it.

    Processes with the same results folder or cache share the jobs: what one of them builds is claimed, and the others
    wait for it.
    """

    def ready(self) -> Sequence[Job]:
        """The jobs that have not ended and whose dependencies have, in the order in which they should start.

        Jobs that other processes have ended are not among them. Empty if all jobs have ended: built, or failed, here or
        in other processes.

        Raises:
            Interrupted: the process was asked to stop. Let it pass.
            Exception: a fault of the machine, such as a disk that cannot be read. Let it pass.
        """

    def build_one(self, jobs: Sequence[Job]) -> None:
        """Build what is missing of the first of these ready jobs that no other process builds, in this process.

        If there is none, wait for a moment. A failure of the job is stored, and fails the jobs that depend on it; it
        raises nothing.

        Raises:
            Interrupted: the process was asked to stop, and the job has saved its state. Let it pass.
            ValueError: a job is not ready.
            Exception: a fault of the machine, such as a full disk. Let it pass.
        """


class Execution(Protocol):
    """A suite that is to be executed."""

    @property
    def options(self) -> EngineOptions:
        """What the user asks of the engine."""

    def jobs(self) -> AbstractContextManager[Jobs]:
        """Open the jobs that remain, once. While they are open, Ctrl-C and SIGTERM ask the process to stop."""


class Engine(Protocol):
    """Executes the jobs of a suite."""

    def __call__(self, execution: Execution, /) -> None:
        """Build jobs until none is ready.

        An engine that returns before is an error. One that stops early, such as at the end of its time, raises
        `Interrupted`; the same command continues then. Any other exception ends the command with an error that names
        the engine.
        """
