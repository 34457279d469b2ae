"""The driver: executes a plan on a Ray cluster. It owns the results; workers need no folder in common with it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from harness.execution import portable_plan
from harness.execution.plan_execution import PlanExecution
from harness.execution.ray_engine import cluster, input_files, transport
from harness.execution.ray_engine.cluster import WorkerResources
from harness.execution.ray_engine.mailbox import Mailbox
from harness.execution.ray_engine.task_loop import TaskLoop
from harness.execution.ray_engine.tasks import Tasks
from harness.execution.ray_engine.transport import Roots
from harness.planning.job_graph import Artifact
from harness.planning.jobs import RunJob
from harness.storage import cache_dir


def execute(execution: PlanExecution) -> None:
    """Execute the jobs of a plan by workers on a Ray cluster. See `harness.api.engine.Engine`.

    Raises:
        UserError: ray is not installed, the cluster does not answer, has no room for a worker, or has other versions of
            packages.
    """
    options, on_gpu = execution.options, torch.device(execution.plan.device).type == "cuda"
    threads = torch.get_num_threads()
    resources = WorkerResources(1 if on_gpu else threads, options.gpus_per_worker if on_gpu else 0.0)
    with cluster.connected(options.address, resources, options.workers) as ray, _cache_mark() as mark:
        room = cluster.room(ray, resources)
        workers = min(options.workers or room, room)
        with execution.jobs(workers=workers, threads=threads) as progress:  # after ray has set its signal handlers
            jobs = progress.graph.jobs
            artifacts = {artifact.key: artifact for job in jobs for artifact in job.artifacts if artifact.work}
            payload, digests = _payload(execution, artifacts, progress.missing)
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
                roots=Roots(execution.store.folder, cache_dir.root()),
            )
            TaskLoop(progress, tasks, workers).execute()


def _payload(
    execution: PlanExecution, artifacts: dict[str, Artifact], missing: Sequence[RunJob]
) -> tuple[bytes, dict[str, str]]:
    """The plan for the workers, and path -> checksum of the models, files and plugins that it needs."""
    files = input_files.paths(artifact.work for artifact in artifacts.values())
    digests = {path: transport.digest(Path(path)) for path in [*map(str, files), *execution.host.paths]}
    payload = portable_plan.dump((execution.plan, artifacts, missing), execution.host, files)
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
