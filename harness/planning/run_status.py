"""Report which runs are done, and why others are not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from harness.planning.jobs import RunJob
from harness.planning.plan import Plan
from harness.storage.hashing import ComparedParts
from harness.storage.plan_file import PlannedRun
from harness.storage.records import RunSummary
from harness.storage.store import Store

MAX_COMPARED = 20
"""Number of stored runs that a run is compared with, if none has its label: bounds the time for a large grid."""

MAX_CACHED = 1000
"""Number of stored runs whose key parts are kept in memory."""


@dataclass(frozen=True)
class RunStatus:
    """The state of a run. `reason` says why it is not done; it is ``done`` for a completed run."""

    run: PlannedRun
    job: RunJob
    done: bool
    reason: str


def status(plan: Plan, store: Store) -> list[RunStatus]:
    """Return the status of every run of the plan, in order."""
    summaries = store.summaries()
    changes = _Changes(summaries.values(), store)
    return [_status(job, summaries.get(job.planned.key), changes, store) for job in plan.runs]


def pending(plan: Plan, store: Store) -> list[RunJob]:
    """Return the runs that are not done, in order, without the reasons: those take ten times as long to find."""
    summaries = store.summaries()
    return [job for job in plan.runs if not _is_done(summaries.get(job.planned.key))]


def _is_done(stored: RunSummary | None) -> bool:
    return stored is not None and stored.status == "completed"


def _status(job: RunJob, stored: RunSummary | None, changes: _Changes, store: Store) -> RunStatus:
    if _is_done(stored):
        return RunStatus(job.planned, job, True, "done")
    if store.checkpoint(job.planned.key).exists():
        reason = "interrupted: it goes on from its checkpoint"
    elif stored is not None:
        reason = f"failed, and will be tried again: {stored.error}"
    else:
        reason = changes.of(job)
    return RunStatus(job.planned, job, False, reason)


class _Changes:
    """The completed runs of a store by row and seed, to find the key parts in which a missing run differs."""

    def __init__(self, summaries: Iterable[RunSummary], store: Store) -> None:
        self.store = store
        self.completed: dict[tuple[str, str, str, int], list[RunSummary]] = {}
        for summary in summaries:
            if _is_done(summary):
                self.completed.setdefault(_row_and_seed(summary), []).append(summary)
        self._parts = lru_cache(maxsize=MAX_CACHED)(self._read_parts)

    def of(self, job: RunJob) -> str:
        """Describe how the key differs from that of the most similar completed run of the same row and seed.

        Runs with the label of the job come first; without one, runs of the same method.
        """
        candidates = self.completed.get(_row_and_seed(job.planned), [])
        same_label = [summary for summary in candidates if summary.label == job.planned.label]
        if not candidates:
            return "not run yet"
        parts = ComparedParts(job.parts)
        chosen = (same_label or candidates)[:MAX_COMPARED]
        fewest = min((self._parts(summary.key).differences(parts) for summary in chosen), key=len)
        return f"changed: {'; '.join(fewest)}"

    def _read_parts(self, key: str) -> ComparedParts:
        return ComparedParts(self.store.parts(key))


def _row_and_seed(run: PlannedRun | RunSummary) -> tuple[str, str, str, int]:
    return run.task, run.method, run.student, run.seed
