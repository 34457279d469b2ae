"""The state of each job of a graph, for display: done, ready, claimed by a process, or waiting for other jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from harness.execution.artifact_builders import ArtifactBuilder, builders
from harness.execution.claim_files import Owner
from harness.execution.claims import Claims
from harness.execution.context import JobContext
from harness.planning import Plan
from harness.planning.job_graph import Artifact, Job, JobGraph, JobKind
from harness.planning.jobs import RunJob
from harness.plugin_host.host import Host
from harness.storage.store import Store


@dataclass(frozen=True)
class JobState:
    """The state of a job.

    Attributes:
        job: the job.
        state: ``done``, ``ready``, ``claimed`` by a live process, or ``waiting`` for other jobs.
        waits_for: the unfinished jobs that it needs.
        owners: the processes that have claimed artifacts of it.
    """

    job: Job
    state: Literal["done", "ready", "claimed", "waiting"]
    waits_for: tuple[Job, ...] = ()
    owners: tuple[Owner, ...] = ()


def job_states(plan: Plan, graph: JobGraph, store: Store, host: Host) -> list[JobState]:
    """The state of each job of the graph, in topological order. Changes nothing on disk."""
    claims = Claims()
    context = JobContext(store, host, torch.device(plan.device), False, claims, lambda: False)
    runs = [artifact.work for job in graph.jobs for artifact in job.artifacts if isinstance(artifact.work, RunJob)]
    makers = builders(plan, context, runs)
    states: dict[str, JobState] = {}
    for job in graph.jobs:
        states[job.key] = _state(job, graph, states, makers, claims)
    return list(states.values())


def _state(
    job: Job,
    graph: JobGraph,
    states: Mapping[str, JobState],
    makers: Mapping[JobKind, ArtifactBuilder],
    claims: Claims,
) -> JobState:
    builder = makers.get(job.kind)
    missing = [artifact for artifact in job.artifacts if builder is None or not builder.is_done(artifact, verify=False)]
    if not missing:
        return JobState(job, "done")
    unfinished = tuple(graph.by_key[key] for key in graph.dependencies(job) if states[key].state != "done")
    if unfinished:
        return JobState(job, "waiting", waits_for=unfinished)
    owners = [_owner(artifact, builder, claims) for artifact in missing]
    if live := tuple(dict.fromkeys(owner for owner in owners if owner is not None)):
        return JobState(job, "claimed", owners=live)
    return JobState(job, "ready")


def _owner(artifact: Artifact, builder: ArtifactBuilder | None, claims: Claims) -> Owner | None:
    return claims.owner(builder.target(artifact)) if builder is not None else None
