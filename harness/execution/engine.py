"""What engines have in common: their options, and the outcome of an execution."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # plugin discovery imports this module; plans import transformers
    from harness.planning import Plan
    from harness.plugin_host.host import Host
    from harness.storage.failure_records import FailureRecord
    from harness.storage.records import RunRecord
    from harness.storage.store import Store


@dataclass(frozen=True)
class ExecutionOptions:
    """How a plan is executed. None of these options changes a result.

    Attributes:
        workers: number of workers that share the jobs; cohorts are split where that saves time. None: one, or as
            many as fit into the cluster of an engine that starts workers.
        retry_failed: whether to try runs and teachers again that failed in an earlier execution.
        only: column -> allowed values; only runs that match all columns are trained, and the runs that they learn from.
            See `planning.run_selection`.
        address: address of the cluster, for engines that use one. None: the engine starts one on this machine.
        gpus_per_worker: number of GPUs that a worker uses, for engines that start workers. Below 1, workers share one.
    """

    workers: int | None = None
    retry_failed: bool = True
    only: dict[str, frozenset[str]] = field(default_factory=dict)
    address: str | None = None
    gpus_per_worker: float = 1.0

    @property
    def trains_board_teachers(self) -> bool:
        """Whether teachers are trained that no run needs, for their rows on the board: not for a part of the runs."""
        return not self.only


@dataclass
class Outcome:
    """The outcome of an execution.

    Attributes:
        failed: records of the runs that failed, also of those that failed because a teacher did.
        failures: the other artifacts that failed (teachers, text stages, augmented data, cached outputs, tunings),
            without those that failed because another one did.
        interrupted: whether a signal stopped the execution.
    """

    failed: list[RunRecord] = field(default_factory=list)
    failures: list[FailureRecord] = field(default_factory=list)
    interrupted: bool = False


class Engine(Protocol):
    """Executes the jobs of a plan."""

    def __call__(self, plan: Plan, store: Store, host: Host, options: ExecutionOptions) -> Outcome:
        """Train all missing teachers and runs, and store each result as soon as it is available.

        A failure fails the artifacts that depend on it, and nothing else.

        Raises:
            DiskError: the disk is full or failing. What is done is kept.
        """
