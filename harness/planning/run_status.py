"""Which runs are done, and why one is not."""

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
    """`reason` says why a run is not done; for one that is, it is ``done``."""

    run: PlannedRun
    job: RunJob
    done: bool
    reason: str


def status(plan: Plan, store: Store) -> list[RunStatus]:
    """Of every run of the plan, in its order."""
    records = store.records()
    return [_status(job, records, store) for job in plan.runs]


def pending(plan: Plan, store: Store) -> list[RunJob]:
    """The runs that are not done."""
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
        reason = _what_changed(job, records)
    return RunStatus(job.planned, job, False, reason)


def _what_changed(job: RunJob, records: Sequence[RunRecord]) -> str:
    """Against the completed run that is most like this one."""
    planned = job.planned
    alike = [
        differences(record.parts, job.parts)
        for record in records
        if (record.task, record.method, record.student, record.seed)
        == (planned.task, planned.method, planned.student, planned.seed)
        and record.status == "completed"
    ]
    if not alike:
        return "not run yet"
    fewest = min(alike, key=len)
    return f"changed: {'; '.join(fewest)}"
