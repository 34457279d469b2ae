"""The local engine: executes a job graph in this process, and shares it with other processes by claims."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from harness.api.errors import UserError
from harness.api.events import Waiting
from harness.execution.artifact_builders import ArtifactBuilder, builders
from harness.execution.claim_files import Owner
from harness.execution.claims import Claims
from harness.execution.context import JobContext
from harness.execution.engine import ExecutionOptions, Outcome
from harness.execution.failure_log import FailureLog
from harness.execution.signals import Interrupted, stop_on_signals
from harness.planning import Plan, graph_builder, pending, run_selection, scheduling
from harness.planning.job_graph import Artifact, Job, JobGraph, JobKind
from harness.plugin_host.discovery import describe
from harness.plugin_host.host import Host
from harness.storage.disk_errors import DiskError
from harness.storage.store import Store

log = logging.getLogger("harness")

POLL_SECONDS = 1.0
"""Time between two looks at jobs that other processes have claimed."""


def execute(plan: Plan, store: Store, host: Host, options: ExecutionOptions | None = None) -> Outcome:
    """Execute the jobs of a plan in this process. See `engine.Engine`.

    Processes with the same results folder or cache share the jobs: each job is claimed before it runs, and a process
    waits for jobs that others have claimed.
    """
    options = options or ExecutionOptions()
    device = torch.device(plan.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # events and pinned memory use the current device
    missing = run_selection.select(pending(plan, store), options.only)
    graph = graph_builder.build(plan, missing, workers=options.workers)
    with stop_on_signals() as stop, Claims() as claims:
        context = JobContext(store, host, device, plan.spec.trust_remote_code, claims, stop)
        execution = GraphExecution(graph, context, options, lambda context: builders(plan, context, missing))
        return execution.execute()


class GraphExecution:
    """Executes a job graph in topological order, or longest job first if several workers share it.

    Args:
        graph: the graph. Latency and report are left to the caller.
        context: the environment of the jobs.
        options: how it is executed.
        make_builders: makes the builders of artifacts from the context of the jobs.
    """

    def __init__(
        self,
        graph: JobGraph,
        context: JobContext,
        options: ExecutionOptions,
        make_builders: Callable[[JobContext], Mapping[JobKind, ArtifactBuilder]],
    ) -> None:
        self.graph = graph
        # A job that lost a claim, because this process was suspended, stops: another process builds its artifacts.
        self.context = replace(context, stop=lambda: context.stop() or self._has_lost_claim())
        self.stop = context.stop
        self.builders = make_builders(self.context)
        self.options = options
        executable = [job for job in graph.jobs if job.kind in self.builders]
        self.failures = FailureLog(
            (artifact for job in executable for artifact in job.artifacts), context, retry_failed=options.retry_failed
        )
        self.ended = {job.key for job in graph.jobs if job.kind not in self.builders}
        self.done: set[str] = set()
        self._claimed: dict[str, Path] = {}
        self._announced: dict[str, Owner] = {}
        self._next_look, self._lost = 0.0, False

    def execute(self) -> Outcome:
        """Execute all jobs. Returns when each artifact has been built or has failed, here or elsewhere."""
        outcome = self.failures.outcome
        try:
            while ready := self._ready():
                if self.stop():
                    raise Interrupted
                # Stops at the first job that makes progress. Another process may be claiming the runs of a cohort one
                # by one: other jobs come first, before this process takes a part of them.
                if not any(self._attempt(job, shared=shared) for shared in (False, True) for job in ready):
                    time.sleep(POLL_SECONDS)
        except Interrupted:
            outcome.interrupted = True
        return outcome

    def _ready(self) -> Sequence[Job]:
        jobs = list(self.graph.ready(self.ended))
        return sorted(jobs, key=scheduling.priority) if self.options.workers > 1 else jobs

    def _attempt(self, job: Job, *, shared: bool) -> bool:
        """Build what is missing of a job, except what other processes have claimed.

        Unless `shared`, nothing is built of which another process builds the first artifact.

        Returns:
            Whether that changed anything; if not, the job waits for other processes.
        """
        builder = self.builders[job.kind]
        missing = [artifact for artifact in job.artifacts if not self._has_ended(artifact, builder)]
        if not missing:
            self.ended.add(job.key)
            return True
        claimed = [missing[0]] if self._claim(missing[0], builder) else []
        if claimed or shared:
            claimed += [artifact for artifact in missing[1:] if self._claim(artifact, builder)]
        if claimed:
            self._build(builder, claimed)
        return len(claimed) > 0

    def _has_ended(self, artifact: Artifact, builder: ArtifactBuilder) -> bool:
        """Whether the artifact is built or has failed. One that needs a failed artifact fails now."""
        if artifact.key in self.done or self.failures.cause(artifact) is not None:
            return True
        if cause := self.failures.inherited(artifact):
            self.failures.add(artifact, cause, cause)
            return True
        if builder.is_done(artifact):
            self.done.add(artifact.key)
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

    def _build(self, builder: ArtifactBuilder, artifacts: Sequence[Artifact]) -> None:
        """Build claimed artifacts. An exception fails those that had not ended before it."""
        remaining = {artifact.key: artifact for artifact in artifacts}
        self._lost = False
        try:
            for artifact, error in builder.build(artifacts):
                del remaining[artifact.key]
                self._finish(artifact, error)
        except Interrupted:
            if self.stop():
                raise
        except DiskError:  # a fault of the machine, not of what was built
            raise
        except (Exception, SystemExit) as error:  # a plugin may raise SystemExit
            log.debug("%s failed", artifacts[0].title, exc_info=True)
            for artifact in remaining.values():
                self._finish(artifact, one_line(error))
        finally:
            for key in list(self._claimed):
                self.context.claims.release(self._claimed.pop(key))

    def _finish(self, artifact: Artifact, error: str | None) -> None:
        if error is None:
            self.done.add(artifact.key)
            self.failures.built(artifact)
        elif self.failures.cause(artifact) is None:  # else its record is stored
            self.failures.add(artifact, error)
        self.context.claims.release(self._claimed.pop(artifact.key))

    def _has_lost_claim(self) -> bool:
        """Whether another process took a claim of the current job. Looks at the files every `POLL_SECONDS` only."""
        now = time.monotonic()
        if now >= self._next_look and self._claimed:
            self._next_look = now + POLL_SECONDS
            self._lost = any(self.context.claims.lost(target) for target in self._claimed.values())
        return self._lost


def one_line(error: BaseException) -> str:
    """An exception in one line. A `UserError` is its message."""
    return " ".join(str(error).split()) if isinstance(error, UserError) else describe(error)
