"""Which jobs of a graph have ended, are ready, or are claimed by this process; used by every engine."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from harness.api import engine
from harness.api.engine import Interrupted
from harness.api.errors import one_line
from harness.api.events import JobsEnded, Waiting
from harness.execution import device_faults
from harness.execution.artifact_builders import ArtifactBuilder, builders
from harness.execution.claim_files import Owner
from harness.execution.context import JobContext
from harness.execution.failure_log import FailureLog
from harness.execution.outcome import ExecutionOptions, Outcome
from harness.planning import Plan, devices, scheduling
from harness.planning.job_graph import Artifact, Job, JobGraph
from harness.planning.jobs import RunJob
from harness.storage.disk_errors import is_disk_error

log = logging.getLogger("harness")

POLL_SECONDS = 1.0
"""Time between two looks at the claims of other processes."""


class GraphProgress:
    """The progress of the execution of a job graph: the `harness.api.engine.Jobs` of a plan.

    Latency and report are left to the caller.

    Args:
        plan: the plan.
        graph: the graph of what remains of it.
        missing: the runs to train.
        context: the environment of the jobs.
        options: how they are executed.
    """

    def __init__(
        self,
        plan: Plan,
        graph: JobGraph,
        missing: Sequence[RunJob],
        context: JobContext,
        options: ExecutionOptions,
    ) -> None:
        self.graph = graph
        self.missing = missing
        self.stop = context.stop
        # A job that lost a claim, because this process was suspended, stops: another process builds its artifacts.
        self.context = replace(context, stop=lambda: context.stop() or self._has_lost_claim())
        self.builders = builders(plan, self.context, missing)
        self.options = options
        executable = [job for job in graph.jobs if job.kind in self.builders]
        self._failures = FailureLog(
            (artifact for job in executable for artifact in job.artifacts), context, retry_failed=options.retry_failed
        )
        self.ended = {job.key for job in graph.jobs if job.kind not in self.builders}
        self._left_out = len(self.ended)
        self._done: set[str] = set()
        self._claimed: dict[str, Path] = {}
        self._announced: dict[str, Owner] = {}
        self._next_look, self._lost = 0.0, False

    @property
    def outcome(self) -> Outcome:
        """The failures so far."""
        return self._failures.outcome

    @property
    def unfinished(self) -> list[Job]:
        """The jobs that have not ended, in topological order."""
        return [job for job in self.graph.jobs if job.key not in self.ended]

    def ready(self) -> Sequence[Job]:
        """The jobs that have not ended and whose dependencies have, in the order in which they should start.

        Looks for those that other processes have ended.

        Raises:
            Interrupted: the process was asked to stop, and jobs remain.
        """
        jobs = list(self.graph.ready(self.ended))
        if jobs and self.stop():
            raise Interrupted
        # A job that has ended makes others ready. Each is looked at once, as that reads files.
        missing: set[str] = set()
        while unknown := [job for job in jobs if job.key not in missing]:
            missing.update(job.key for job in unknown if self._is_missing(job))
            jobs = list(self.graph.ready(self.ended))
        return sorted(jobs, key=scheduling.priority) if (self.options.workers or 1) > 1 else jobs

    def build_one(self, jobs: Sequence[engine.Job]) -> None:
        """Build the first of these jobs that no other process builds. See `harness.api.engine.Jobs.build_one`."""
        own = [self._ready_job(job.key) for job in jobs]
        # Stops at the first job that makes progress. Another process may be claiming the runs of a cohort one by
        # one: other jobs come first, before this process takes a part of them.
        if not any(self._attempt(job, shared=shared) for shared in (False, True) for job in own):
            time.sleep(POLL_SECONDS)

    def _ready_job(self, key: str) -> Job:
        """The job with this key. Raises `ValueError` if it has ended, or one that it needs has not."""
        job = self.graph.by_key.get(key)
        if job is None or key in self.ended or not self.ended.issuperset(self.graph.dependencies(job)):
            raise ValueError(f"the job {key!r} is not ready")
        return job

    def _attempt(self, job: Job, *, shared: bool) -> bool:
        """Build what is missing of a job in this process, except what others have claimed. `shared`: see `take`.

        Returns:
            Whether that changed anything: false means that the job waits for other processes.
        """
        claimed = self.take(job, shared=shared)
        if claimed:
            devices.select(self.context.device)
            try:
                build(self.builders[job.kind], claimed, self.finish)
            except Interrupted:
                if self.stop():  # else a claim was lost
                    raise
            finally:
                self.release_all()
            self._missing(job)
        return len(claimed) > 0 or job.key in self.ended

    def take(self, job: Job, *, shared: bool) -> list[Artifact]:
        """Claim what is missing of a job, except what other processes have claimed, and return it.

        Unless `shared`, nothing is claimed of which another process builds the first artifact. The job has ended, and
        is in `ended`, if nothing is missing.
        """
        missing, builder = self._missing(job), self.builders[job.kind]
        if not missing:
            return []
        claimed = [missing[0]] if self._claim(missing[0], builder) else []
        if claimed or shared:
            claimed += [artifact for artifact in missing[1:] if self._claim(artifact, builder)]
        return claimed

    def _is_missing(self, job: Job) -> bool:
        """Whether something is missing of a job: surely if this process builds it. If not, the job has ended."""
        return any(artifact.key in self._claimed for artifact in job.artifacts) or len(self._missing(job)) > 0

    def _missing(self, job: Job) -> list[Artifact]:
        """What is missing of a job. If nothing is, the job has ended."""
        missing = [artifact for artifact in job.artifacts if not self._has_ended(artifact, self.builders[job.kind])]
        if not missing and job.key not in self.ended:
            self.ended.add(job.key)
            ended, total = len(self.ended) - self._left_out, len(self.graph.jobs) - self._left_out
            self.context.host.notify("harness_jobs_ended", JobsEnded(ended, total))
        return missing

    def finish(self, artifact: Artifact, error: str | None) -> None:
        """Note that a claimed artifact is built, or has failed with `error`, and release its claim."""
        if error is None:
            self._done.add(artifact.key)
            self._failures.built(artifact)
        elif self._failures.cause(artifact) is None:  # else its record is stored
            self._failures.add(artifact, error)
        self.release([artifact.key])

    def release(self, keys: Iterable[str]) -> None:
        """Release the claims of artifacts that are not being built any more."""
        for key in list(keys):
            target = self._claimed.pop(key, None)
            if target is not None:
                self.context.claims.release(target)

    def release_all(self) -> None:
        """Release all claims."""
        self.release(self._claimed)
        self._lost = False

    def lost_a_claim(self, keys: Iterable[str]) -> bool:
        """Whether another process has taken the claim of one of these artifacts."""
        targets = [self._claimed[key] for key in keys if key in self._claimed]
        return any(self.context.claims.lost(target) for target in targets)

    def _has_lost_claim(self) -> bool:
        """Whether another process took a claim. Looks at the files every `POLL_SECONDS` only."""
        now = time.monotonic()
        if now >= self._next_look and self._claimed:
            self._next_look = now + POLL_SECONDS
            self._lost = self.lost_a_claim(self._claimed)
        return self._lost

    def _has_ended(self, artifact: Artifact, builder: ArtifactBuilder) -> bool:
        """Whether the artifact is built or has failed. One that needs a failed artifact fails now."""
        if artifact.key in self._done or self._failures.cause(artifact) is not None:
            return True
        if cause := self._failures.inherited(artifact):
            self._failures.add(artifact, cause, cause)
            return True
        if builder.is_done(artifact):
            self._done.add(artifact.key)
            return True
        return False

    def _claim(self, artifact: Artifact, builder: ArtifactBuilder) -> bool:
        """Claim an artifact. False: another process has claimed it, or has built it in the meantime."""
        claims, target = self.context.claims, builder.target(artifact)
        if not claims.take(target, artifact.title):
            owner = claims.owner(target)
            if owner is not None and self._announced.get(artifact.key) != owner:
                self._announced[artifact.key] = owner
                self.context.host.notify("harness_waiting", Waiting(artifact.title, owner.host, owner.process))
            return False
        if self._has_ended(artifact, builder):
            claims.release(target)
            return False
        self._claimed[artifact.key] = target
        return True


def build(
    builder: ArtifactBuilder, artifacts: Sequence[Artifact], finish: Callable[[Artifact, str | None], object]
) -> None:
    """Build artifacts, and pass each to `finish` as it ends, with its error or None.

    An exception fails the artifacts that had not ended before it. Memory of a GPU that is not in use any more is free
    for other processes, and for the latency measurement in a process of its own.

    Raises:
        Interrupted: the process was asked to stop.
        DiskError, DeviceError, OSError: a fault of the machine, not of what was built.
    """
    remaining = {artifact.key: artifact for artifact in artifacts}

    def end(artifact: Artifact, error: str | None) -> None:
        if error is not None:
            device_faults.check(artifact.title, error)
        del remaining[artifact.key]
        finish(artifact, error)

    try:
        for artifact, error in builder.build(artifacts):
            end(artifact, error)
    except (Interrupted, device_faults.DeviceError):
        raise
    except (Exception, SystemExit) as error:  # a plugin may raise SystemExit
        if is_disk_error(error):
            raise
        log.debug("%s failed", artifacts[0].title, exc_info=True)
        for artifact in list(remaining.values()):
            end(artifact, one_line(error))
    # Not after a fault of the device, which this would raise again.
    device_faults.release_cached_memory(artifacts[0].title)
