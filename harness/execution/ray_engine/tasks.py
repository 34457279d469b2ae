"""Starts the Ray tasks of an execution, with the files that workers lack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.execution.ray_engine import transport, worker
from harness.execution.ray_engine.artifact_files import files_of
from harness.execution.ray_engine.cluster import WorkerResources
from harness.execution.ray_engine.messages import Assignment
from harness.execution.ray_engine.transport import Roots
from harness.planning.job_graph import Artifact, Job
from harness.storage import checksums

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Environment variables that limit the threads of a process when it imports torch and numpy."""

UNLIMITED = 0
"""`max_calls` of a task whose process executes any number of tasks."""


@dataclass
class Tasks:
    """Starts tasks.

    Attributes:
        ray: the module `ray`, connected.
        mailbox: the actor that takes messages of workers.
        payload: reference to the payload of the plan, see `worker.Content`.
        artifacts: all artifacts by key.
        digests: path of a model or plugin on this machine -> its checksum.
        threads: CPU threads of a worker.
        resources: what a worker takes.
        memory: bytes of memory of the smallest node, the most that a task may reserve.
        cache_mark: see `Assignment`.
        roots: the folders of this machine.
    """

    ray: Any
    mailbox: Any
    payload: Any
    artifacts: Mapping[str, Artifact]
    digests: Mapping[str, str]
    threads: int
    resources: WorkerResources
    memory: int
    cache_mark: str
    roots: Roots
    _sent: dict[str, Any] = field(default_factory=dict)

    def start(self, attempt: int, job: Job, artifacts: Sequence[Artifact]) -> Any:
        """Start the task that builds `artifacts` of a job, and return the reference to its reply."""
        needed = [self.artifacts[need] for artifact in artifacts for need in artifact.needs]
        own, other = ([files_of(artifact, self.roots) for artifact in part] for part in (artifacts, needed))
        names = [name for files in own for name in (*files.checkpoints, *files.records, *files.sources)]
        names += [name for files in other for name in files.records]
        kept = [files.cached for files in own if files.cached and checksums.is_intact(self.roots.path(files.cached))]
        needs = [*kept, *(files.cached for files in other if files.cached)]
        assignment = Assignment(
            attempt=attempt,
            kind=job.kind,
            artifacts=tuple(artifact.key for artifact in artifacts),
            threads=self.threads,
            gpus=self.resources.gpus,
            cache_mark=self.cache_mark,
            files=transport.read(set(names), self.roots),
            needs={name: checksums.digest(self.roots.path(name)) for name in needs},
            digests=self.digests,
            sent=dict(self._sent),
        )
        memory = 0 if self.resources.gpus else min(job.resources.memory_bytes, self.memory)
        # A process that has used a GPU keeps it, whichever ray gives to its next task: each task gets a process of its
        # own. ray arranges this by itself only if `num_gpus` is given to `remote`, and not to `options`.
        calls = 1 if self.resources.gpus else UNLIMITED
        task = self.ray.remote(max_calls=calls)(worker.work).options(
            name=job.title,
            num_cpus=self.resources.cpus,
            num_gpus=self.resources.gpus,
            memory=memory or None,
            max_retries=0,  # the driver retries, from the last checkpoint
            runtime_env={"env_vars": dict.fromkeys(THREADS, str(self.threads))},
        )
        return task.remote(self.payload, worker.versions(), assignment, self.mailbox)

    def send(self, names: Iterable[str]) -> None:
        """Make folders that a worker lacks available to all workers."""
        for name in names:
            path = Path(name) if name in self.digests else self.roots.path(name)
            self._sent[name] = self.ray.put(transport.read_folder(path))
