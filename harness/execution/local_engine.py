"""The local engine: executes a job graph in this process, and shares it with other processes by claims."""

from __future__ import annotations

import time

import torch

from harness.execution import leftover_checkpoints
from harness.execution.artifact_builders import builders
from harness.execution.claims import Claims
from harness.execution.context import JobContext
from harness.execution.engine import ExecutionOptions, Outcome
from harness.execution.graph_progress import POLL_SECONDS, GraphProgress, build
from harness.execution.remaining_jobs import remaining
from harness.execution.signals import Interrupted, stop_on_signals
from harness.planning import Plan, devices
from harness.planning.job_graph import Job
from harness.plugin_host.host import Host
from harness.storage.store import Store


def execute(plan: Plan, store: Store, host: Host, options: ExecutionOptions | None = None) -> Outcome:
    """Execute the jobs of a plan in this process. See `engine.Engine`.

    Processes with the same results folder or cache share the jobs: each job is claimed before it runs, and a process
    waits for jobs that others have claimed.
    """
    options = options or ExecutionOptions()
    device = torch.device(plan.device)
    devices.select(device)
    missing, graph = remaining(plan, store, options, workers=options.workers or 1)
    with stop_on_signals() as stop, Claims() as claims:
        leftover_checkpoints.remove(store, claims)
        context = JobContext(store, host, device, plan.spec.trust_remote_code, claims, stop)
        progress = GraphProgress(graph, context, options, lambda context: builders(plan, context, missing))
        return _execute(progress, context)


def _execute(progress: GraphProgress, context: JobContext) -> Outcome:
    """Execute all jobs. Returns when each artifact has been built or has failed, here or elsewhere."""
    try:
        while ready := progress.ready():
            if context.stop():
                raise Interrupted
            # Stops at the first job that makes progress. Another process may be claiming the runs of a cohort one by
            # one: other jobs come first, before this process takes a part of them.
            if not any(_attempt(job, progress, context, shared=shared) for shared in (False, True) for job in ready):
                time.sleep(POLL_SECONDS)
    except Interrupted:
        progress.outcome.interrupted = True
    return progress.outcome


def _attempt(job: Job, progress: GraphProgress, context: JobContext, *, shared: bool) -> bool:
    """Build what is missing of a job, except what other processes have claimed. `shared`: see `GraphProgress.take`.

    Returns:
        Whether that changed anything: false means that the job waits for other processes.
    """
    claimed = progress.take(job, shared=shared)
    if claimed:
        try:
            build(progress.builders[job.kind], claimed, progress.finish)
        except Interrupted:
            if context.stop():  # else a claim was lost
                raise
        finally:
            progress.release_all()
    return len(claimed) > 0 or job.key in progress.ended
