"""The driver: executes a plan on a Ray cluster. It owns the results; workers need no folder in common with it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from harness.execution import leftover_checkpoints, portable_plan
from harness.execution.artifact_builders import builders
from harness.execution.claims import Claims
from harness.execution.context import JobContext
from harness.execution.engine import ExecutionOptions, Outcome
from harness.execution.graph_progress import GraphProgress
from harness.execution.ray_engine import cluster, input_files, transport
from harness.execution.ray_engine.cluster import WorkerResources
from harness.execution.ray_engine.mailbox import Mailbox
from harness.execution.ray_engine.task_loop import TaskLoop
from harness.execution.ray_engine.tasks import Tasks
from harness.execution.ray_engine.transport import Roots
from harness.execution.remaining_jobs import remaining
from harness.execution.signals import stop_on_signals
from harness.planning import Plan
from harness.planning.job_graph import Artifact
from harness.planning.jobs import RunJob
from harness.plugin_host.host import Host
from harness.storage import cache_dir
from harness.storage.store import Store


def execute(plan: Plan, store: Store, host: Host, options: ExecutionOptions) -> Outcome:
    """Execute the jobs of a plan by workers on a Ray cluster. See `engine.Engine`.

    Raises:
        UserError: ray is not installed, the cluster does not answer, has no room for a worker, or has other versions of
            packages.
    """
    device = torch.device(plan.device)
    on_gpu = device.type == "cuda"
    threads = torch.get_num_threads()
    resources = WorkerResources(1 if on_gpu else threads, options.gpus_per_worker if on_gpu else 0.0)
    with (
        cluster.connected(options.address, resources, options.workers) as ray,
        _cache_mark() as mark,
        stop_on_signals() as stop,  # after ray has set its own handlers
        Claims() as claims,
    ):
        leftover_checkpoints.remove(store, claims)
        room = cluster.room(ray, resources)
        workers = min(options.workers or room, room)
        missing, graph = remaining(plan, store, options, workers=workers, threads=threads)
        artifacts = {artifact.key: artifact for job in graph.jobs for artifact in job.artifacts if artifact.work}
        context = JobContext(store, host, device, plan.spec.trust_remote_code, claims, stop)
        options = replace(options, workers=workers)
        progress = GraphProgress(graph, context, options, lambda context: builders(plan, context, missing))
        payload, digests = _payload(plan, artifacts, missing, host)
        tasks = Tasks(
            ray=ray,
            mailbox=_mailbox(ray),
            payload=ray.put(payload),
            artifacts=artifacts,
            digests=digests,
            threads=threads,
            resources=resources,
            memory=min(int(node["Resources"].get("memory", 0)) for node in ray.nodes() if node["Alive"]),
            cache_mark=mark,
            roots=Roots(store.folder, cache_dir.root()),
        )
        return TaskLoop(progress, tasks, workers, stop).execute()


def _payload(
    plan: Plan, artifacts: dict[str, Artifact], missing: list[RunJob], host: Host
) -> tuple[bytes, dict[str, str]]:
    """The plan for the workers, and path -> checksum of the models, files and plugins that it needs."""
    files = input_files.paths(artifact.work for artifact in artifacts.values())
    digests = {path: transport.digest(Path(path)) for path in [*map(str, files), *host.paths]}
    payload = portable_plan.dump((plan, artifacts, missing), host, files)
    return payload, {path: digest for path, digest in digests.items() if digest is not None}


def _mailbox(ray: Any) -> Any:
    """Start the mailbox on this machine."""
    here = ray.get_runtime_context().get_node_id()
    on_this_node = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
    return ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=on_this_node).remote()


@contextmanager
def _cache_mark() -> Iterator[str]:
    """Put a file in the cache while the context lasts, by which workers see that they share it. Yields its name."""
    root = cache_dir.root()
    root.mkdir(parents=True, exist_ok=True)
    mark = root / f"driver-{secrets.token_hex(8)}"
    mark.touch()
    try:
        yield mark.name
    finally:
        mark.unlink(missing_ok=True)
