"""The options of an execution, and its outcome."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.api.engine import EngineOptions
from harness.storage.failure_records import FailureRecord
from harness.storage.records import RunRecord


@dataclass(frozen=True)
class ExecutionOptions(EngineOptions):
    """How a plan is executed. None of these options changes a result.

    Attributes:
        retry_failed: whether to try runs and teachers again that failed in an earlier execution.
        only: column -> allowed values; only runs that match all columns are trained, and the runs that they learn from.
            See `planning.run_selection`.
    """

    retry_failed: bool = True
    only: dict[str, frozenset[str]] = field(default_factory=dict)

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
        interrupted: whether a signal or the engine stopped the execution.
    """

    failed: list[RunRecord] = field(default_factory=list)
    failures: list[FailureRecord] = field(default_factory=list)
    interrupted: bool = False
