"""The worker: builds the artifacts of one job on a node of the cluster, and reports to the driver."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from harness.api.engine import Interrupted
from harness.api.errors import UserError
from harness.execution import portable_plan
from harness.execution.artifact_builders import builders
from harness.execution.claims import Claims
from harness.execution.context import JobContext
from harness.execution.device_faults import DeviceError
from harness.execution.graph_progress import build
from harness.execution.ray_engine import transport
from harness.execution.ray_engine.artifact_files import files_of
from harness.execution.ray_engine.messages import Assignment, Message, Reply
from harness.execution.ray_engine.outbox import Outbox
from harness.execution.ray_engine.transport import Roots
from harness.planning import Plan, devices
from harness.planning.job_graph import Artifact
from harness.planning.jobs import RunJob
from harness.planning.memory_estimate import MARGIN
from harness.plugin_host.host import Host
from harness.storage import cache_dir, checksums, provenance
from harness.storage.disk_errors import problem_of
from harness.storage.store import Store

Content = tuple[Plan, Mapping[str, Artifact], Sequence[RunJob]]
"""The plan, all artifacts of its graph by key, and the runs that are missing."""

_loaded: dict[bytes, tuple[Content, Host]] = {}
"""The last payload of this process, restored."""


def work(payload: bytes, versions: Mapping[str, str], assignment: Assignment, mailbox: Any) -> Reply:
    """Execute an assignment of the driver: a Ray task.

    Args:
        payload: the plan, see `portable_plan`.
        versions: versions of packages on the driver's machine, which must be the same here.
        assignment: what to do.
        mailbox: the actor that takes messages to the driver.

    Returns:
        How it ended. An interrupted job has posted its checkpoints.

    Raises:
        DeviceError: this process cannot use its GPU any more. The driver continues the job in another one.
    """
    try:
        check_versions(versions)
        with Claims() as claims:
            needs = assignment.needs.items()
            lacks = [name for name, digest in needs if not _is_here(name, digest, assignment, claims)]
            places = {path: place_of(path, digest, assignment, claims) for path, digest in assignment.digests.items()}
            lacks += [path for path, place in places.items() if place is None]
            if lacks:
                return Reply(lacks=tuple(lacks))
            if payload not in _loaded:
                _loaded.clear()
                _loaded[payload] = portable_plan.load(payload, {path: place for path, place in places.items() if place})
            (plan, artifacts, missing), host = _loaded[payload]
            _execute(plan, [artifacts[key] for key in assignment.artifacts], missing, host, assignment, mailbox, claims)
    except DeviceError:
        raise
    except UserError as error:
        return Reply(errors=tuple(str(problem) for problem in error.problems))
    except OSError as error:
        if (problem := problem_of(error)) is None:
            raise
        return Reply(errors=(str(problem),))
    return Reply()


def _execute(
    plan: Plan,
    artifacts: Sequence[Artifact],
    missing: Sequence[RunJob],
    host: Host,
    assignment: Assignment,
    mailbox: Any,
    claims: Claims,
) -> None:
    device = _device(plan, assignment)
    plan = replace(plan, device=str(device))
    with tempfile.TemporaryDirectory(prefix="kd-harness-") as folder:
        roots = Roots(Path(folder), cache_dir.root())
        transport.write(assignment.files, roots)
        outbox = Outbox(
            partial(_post, mailbox),
            assignment.attempt,
            partial(_checkpoints, artifacts, roots, shared=_shares_cache(assignment)),
            roots,
        )
        host.redirect(outbox.event)
        store = Store(roots.store)
        context = JobContext(store, host, device, plan.spec.trust_remote_code, claims, outbox.stopped)

        def finish(artifact: Artifact, error: str | None) -> None:
            files = files_of(artifact, roots)
            cached = (files.cached,) if files.cached and not error and not _shares_cache(assignment) else ()
            outbox.finish(artifact.key, error, (*files.results, *cached))

        with outbox.reporting():
            try:
                build(builders(plan, context, missing)[assignment.kind], artifacts, finish)
            except Interrupted:
                return


def check_versions(expected: Mapping[str, str]) -> None:
    """Raise `UserError` if a package has another version here than on the driver's machine."""
    found = versions()
    different = [
        f"{name} {found.get(name, 'is missing')} (the driver has {version})"
        for name, version in expected.items()
        if found.get(name) != version
    ]
    if different:
        raise UserError(f"other versions than on the driver's machine: {', '.join(different)}; install the same ones")


def versions() -> dict[str, str]:
    """The versions of packages on this machine that determine results."""
    return dict(provenance.packages())


def _device(plan: Plan, assignment: Assignment) -> torch.device:
    """The device of this worker, which is the only one that it sees, and its share of it.

    Raises:
        UserError: the GPU cannot be used. That is no fault of a job: other jobs would fail on it as well.
    """
    torch.set_num_threads(assignment.threads)
    device = torch.device(plan.device)
    if device.type != "cuda":
        return device
    device = torch.device("cuda:0")
    devices.select(device)
    if assignment.gpus < 1:  # then batches are split, and no neighbour fails
        # The margin is for what torch does not count: the CUDA context and the kernels of each process.
        torch.cuda.set_per_process_memory_fraction(assignment.gpus * (1 - MARGIN))
    return device


def _post(mailbox: Any, message: Message) -> bool:
    import ray

    return bool(ray.get(mailbox.post.remote(message)))


def _shares_cache(assignment: Assignment) -> bool:
    return (cache_dir.root() / assignment.cache_mark).exists()


def _checkpoints(artifacts: Sequence[Artifact], roots: Roots, *, shared: bool) -> list[Path]:
    """The checkpoints that exist, as far as the driver's machine has not the same file."""
    paths = [roots.path(name) for artifact in artifacts for name in files_of(artifact, roots).checkpoints]
    own = [path for path in paths if path.is_relative_to(roots.store) or not shared]
    return [file for path in own for file in transport.files_at(path)]


def _is_here(name: str, digest: str, assignment: Assignment, claims: Claims) -> bool:
    """Whether the cache has the folder that the driver has, after it was written if the driver has sent it.

    One of the same name may have other contents: that of a run which was trained again in the meantime.
    """
    return _write_sent(Roots(Path(), cache_dir.root()).path(name), name, assignment, claims, digest)


def place_of(path: str, digest: str, assignment: Assignment, claims: Claims) -> Path | None:
    """Where the contents of a path of the driver's machine are here: at the same path, or in the cache."""
    if transport.digest(Path(path)) == digest:
        return Path(path)
    folder = cache_dir.root() / "inputs" / digest / Path(path).name
    if not _write_sent(folder, path, assignment, claims):
        return None
    return folder / Path(path).name if (folder / Path(path).name).is_file() else folder


def _write_sent(target: Path, name: str, assignment: Assignment, claims: Claims, digest: str | None = None) -> bool:
    """Write a folder of the cache that the driver has sent, unless it is intact. Returns whether it is there now.

    `digest`: that of `checksums.digest` which it must have; None if its name says what it contains.
    """

    def has_contents() -> bool:
        return digest is None or checksums.digest(target) == digest

    if has_contents() and checksums.is_intact(target):
        return True
    if name not in assignment.sent:
        return False
    import ray

    target.parent.mkdir(parents=True, exist_ok=True)
    with claims.held(target, f"copy of {name}", lambda: False):
        if not (has_contents() and checksums.is_intact(target)):
            transport.write_folder(target, ray.get(assignment.sent[name]), sealed=True)
    return has_contents()  # else the driver has replaced it since, and sends it again
