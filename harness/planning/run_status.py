"""Report which runs are done, and why others are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.planning.jobs import RunJob
from harness.planning.plan import Plan
from harness.storage.hashing import differences
from harness.storage.records import PlannedRun, RunRecord
from harness.storage.store import Store


@dataclass(frozen=True)
class RunStatus:
    """The state of a run. `reason` says why it is not done; it is ``done`` for a completed run."""

    run: PlannedRun
    job: RunJob
    done: bool
    reason: str


def status(plan: Plan, store: Store) -> list[RunStatus]:
    """Return the status of every run of the plan, in order."""
    records = store.records()
    return [_status(job, records, store) for job in plan.runs]


def pending(plan: Plan, store: Store) -> list[RunJob]:
    """Return the runs that are not done."""
    return [run.job for run in status(plan, store) if not run.done]


def _status(job: RunJob, records: Sequence[RunRecord], store: Store) -> RunStatus:
    record = next((r for r in records if r.key == job.planned.key), None)
    if record is not None and record.status == "completed":
        return RunStatus(job.planned, job, True, "done")
    if store.checkpoint(job.planned.key).exists():
        reason = "interrupted: it goes on from its checkpoint"
    elif record is not None:
        reason = f"failed, and will be tried again: {record.error}"
    else:
        reason = _changed_parts(job, records)
    return RunStatus(job.planned, job, False, reason)


def _changed_parts(job: RunJob, records: Sequence[RunRecord]) -> str:
    """Describe how the key differs from that of the most similar completed run of the same row and seed."""
    planned = job.planned
    changes = [
        differences(record.parts, job.parts)
        for record in records
        if (record.task, record.method, record.student, record.seed)
        == (planned.task, planned.method, planned.student, planned.seed)
        and record.status == "completed"
    ]
    if not changes:
        return "not run yet"
    fewest = min(changes, key=len)
    return f"changed: {'; '.join(fewest)}"
