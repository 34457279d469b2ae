"""Connects to a Ray cluster, or starts one on this machine, quietly."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from harness.api.errors import Problem, UserError

CONNECT_SECONDS = 10.0
"""Time in which the head node of a cluster must answer."""

LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class WorkerResources:
    """What one worker takes: CPUs, and GPUs (a fraction if workers share one)."""

    cpus: int
    gpus: float


@contextmanager
def connected(address: str | None, resources: WorkerResources, workers: int | None) -> Iterator[Any]:
    """Connect to a cluster and yield the module `ray`; disconnect at the end.

    Args:
        address: ``HOST:PORT`` of the head node, or ``auto`` for the cluster of this machine. None: ``$RAY_ADDRESS``, or
            else a cluster on this machine that ends with this process and listens on 127.0.0.1 only.
        resources: what each worker takes.
        workers: number of workers that a new cluster must have room for; default: as many as there are CPUs for.

    Raises:
        UserError: ray is not installed, there is no cluster at the address, or it was lost; or a worker would take a
            number of GPUs that ray does not give.
    """
    _check_gpus(resources.gpus)
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if address not in ("local", "auto"):
        _check_address(address)
    ray = _import(on_this_machine=address == "local" or address.rpartition(":")[0] in LOCAL)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address == "local":
        options |= {"include_dashboard": False}
        if workers is not None:
            options |= {"num_cpus": workers * resources.cpus}
    try:
        ray.init(address=address, **options)
    except (OSError, RuntimeError, ValueError) as error:  # a ConnectionError is an OSError
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            Problem(
                f"cannot connect to the Ray cluster: {reason}. Start it with `ray start --head`, and run harness on "
                "one of its nodes",
                "--engine ray" if address == "local" else f"--address {address}",
            )
        ) from None
    try:
        yield ray
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            Problem(
                f"lost the Ray cluster: {reason}. Run the same command again: what is done is kept",
                "--engine ray",
            )
        ) from error
    finally:
        ray.shutdown()


def room(ray: Any, resources: WorkerResources) -> int:
    """The number of workers that fit into the cluster.

    Raises:
        UserError: none fits.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    workers = 0
    for node in nodes:
        fits = [int(node.get("CPU", 0) // resources.cpus)]
        if resources.gpus:
            fits.append(int(node.get("GPU", 0) / resources.gpus + 1e-9))
        workers += min(fits)
    if not workers:
        most = [(f"{node.get('CPU', 0):g} CPUs", f"{node.get('GPU', 0):g} GPUs") for node in nodes]
        found = "; ".join(" and ".join(node) for node in most)
        raise UserError(
            Problem(
                f"no node of the Ray cluster has room for a worker of {resources.cpus} CPU threads and "
                f"{resources.gpus:g} GPUs; its nodes have {found}. Set OMP_NUM_THREADS to fewer "
                "threads (they are part of the key of a result on a CPU), or use a smaller --gpus-per-worker",
                "--engine ray",
            )
        )
    return workers


def _import(*, on_this_machine: bool) -> Any:
    """Import ray. It reads these settings when it is imported."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if on_this_machine:  # "0": use 127.0.0.1, which is the default on macOS, instead of the address in the network
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
    except ImportError:
        raise UserError(
            Problem("the engine ray needs the package ray: pip install 'kd-harness[ray]'", "--engine ray")
        ) from None
    return ray


def _check_gpus(gpus: float) -> None:
    """Raise `UserError` unless ray can give a worker `gpus` GPUs: a share of one, or whole ones."""
    if not (0 <= gpus <= 1 or (gpus > 1 and gpus % 1 == 0)):
        message = f"expected a share of one GPU, such as 0.25, or a whole number of GPUs; got {gpus:g}"
        raise UserError(Problem(message, "--gpus-per-worker"))


def _check_address(address: str) -> None:
    """Raise `UserError` unless something answers at the address: ray itself tries for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise UserError(
            Problem(
                f"expected HOST:PORT of the head node, such as 10.0.0.1:6379, or auto; got {address!r}", "--address"
            )
        )
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            Problem(
                f"no Ray cluster answers at {address} ({error}). `ray start --head` starts one and prints its address",
                "--address",
            )
        ) from None
