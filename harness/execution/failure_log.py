"""Keeps track of failed artifacts, so that a failure fails what depends on it, and is not repeated."""

from __future__ import annotations

from collections.abc import Iterable

from harness.execution import run_records
from harness.execution.context import JobContext
from harness.execution.outcome import Outcome
from harness.planning.job_graph import Artifact, TeacherTraining
from harness.planning.jobs import RunJob, TeacherJob, TextStageJob
from harness.storage import provenance
from harness.storage.failure_records import FailureRecord
from harness.storage.records import RunRecord


class FailureLog:
    """The failures of an execution, of this and of other processes.

    Failures that were stored before the execution are tried again once, unless `retry_failed` is false.
    """

    def __init__(self, artifacts: Iterable[Artifact], context: JobContext, *, retry_failed: bool) -> None:
        self.context = context
        self.outcome = Outcome()
        self._causes: dict[str, str] = {}
        self._earlier = {artifact.key: self._stored(artifact) for artifact in artifacts} if retry_failed else {}

    def cause(self, artifact: Artifact) -> str | None:
        """Why the artifact has failed: title and error of the first failure that led to it; None if it has not."""
        if artifact.key not in self._causes:
            stored = self._stored(artifact)
            if stored is None or stored == self._earlier.get(artifact.key):
                return None
            self._note(artifact, stored)
        return self._causes[artifact.key]

    def inherited(self, artifact: Artifact) -> str | None:
        """Why the artifact cannot be built: the cause of a failed artifact that it needs; None if none has failed."""
        return next((self._causes[need] for need in artifact.needs if need in self._causes), None)

    def add(self, artifact: Artifact, error: str, cause: str | None = None) -> None:
        """Store the failure of an artifact, and notify observers if it is a run, a teacher or a text stage.

        `cause`: the first failure that led to it, if it is not this one.
        """
        store, work, now = self.context.store, artifact.work, provenance.now()
        if isinstance(work, RunJob):
            record = _unstarted(work, cause or error, self.context)
            store.save(record)
            run_records.announce_failed_job(self.context.host, work, record.error or "")
            self._note(artifact, record)
            return
        failure = FailureRecord(
            key=artifact.key,
            title=artifact.title,
            error=error,
            cause=cause or _cause(artifact, error),
            provenance=run_records.provenance_of(self.context.device, now),
        )
        store.save_failure(failure)
        for job in _announced_jobs(artifact):
            run_records.announce_failed_job(self.context.host, job, error)
        self._note(artifact, failure)

    def built(self, artifact: Artifact) -> None:
        """Remove the stored failure of an artifact that was built after all."""
        if not isinstance(artifact.work, RunJob):
            self.context.store.remove_failure(artifact.key)

    def _note(self, artifact: Artifact, record: RunRecord | FailureRecord) -> None:
        if isinstance(record, RunRecord):
            self.outcome.failed.append(record)
            self._causes[artifact.key] = _cause(artifact, next(iter((record.error or "").splitlines()), ""))
        else:
            if record.cause == _cause(artifact, record.error):  # else that of which it is a consequence is listed
                self.outcome.failures.append(record)
            self._causes[artifact.key] = record.cause

    def _stored(self, artifact: Artifact) -> RunRecord | FailureRecord | None:
        """The stored failure of the artifact."""
        store = self.context.store
        if isinstance(artifact.work, RunJob):
            record = store.record(artifact.key)
            return record if record is not None and record.status == "failed" else None
        return store.failure(artifact.key)


def _announced_jobs(artifact: Artifact) -> tuple[TextStageJob | TeacherJob, ...]:
    """The trainings whose failure observers are notified of, besides runs."""
    match artifact.work:
        case TextStageJob() as job:
            return (job,)
        case TeacherTraining(members=members):
            return members
    return ()


def _cause(artifact: Artifact, error: str) -> str:
    return f"{artifact.title} failed: {error}"


def _unstarted(job: RunJob, error: str, context: JobContext) -> RunRecord:
    """The record of a run that failed before its student existed."""
    return RunRecord(
        **run_records.identity(job),
        status="failed",
        error=error,
        cost=run_records.NO_COST,
        size=None,
        provenance=run_records.provenance_of(context.device, provenance.now()),
    )
