"""A Ray cluster of two nodes on this machine, each with a cache folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager

# Ray reads these when it is imported. With the first, it listens on 127.0.0.1 only; with the last, workers have the
# priority of the tests.
os.environ.update(
    {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
)


@contextmanager
def two_nodes(folder):
    """Start the cluster and yield its address. The caches are `folder`/node0 and `folder`/node1."""
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        for number in range(2):
            cluster.add_node(
                num_cpus=1,
                resources={f"node{number}": 1},
                node_ip_address="127.0.0.1",
                object_store_memory=100_000_000,
                include_dashboard=False,
                env_vars={"HARNESS_CACHE": str(folder / f"node{number}")},
            )
        yield cluster.address
    finally:
        cluster.shutdown()


@contextmanager
def node_with_gpus(count):
    """Start a cluster of one node that is said to have GPUs, and yield its address."""
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        cluster.add_node(
            num_cpus=count,
            num_gpus=count,
            node_ip_address="127.0.0.1",
            object_store_memory=100_000_000,
            include_dashboard=False,
        )
        yield cluster.address
    finally:
        cluster.shutdown()


HOLD = """
import sys
import ray

class Holder:
    def hold(self):
        pass

ray.init(address=sys.argv[1], log_to_driver=False)
holder = ray.remote(Holder).options(num_cpus=1, resources={sys.argv[2]: 1}).remote()
ray.get(holder.hold.remote())
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def occupied(address, node):
    """Hold the CPU of the node (``node0``, ``node1``), so that all jobs run on the other one."""
    command = [sys.executable, "-c", HOLD, address, node]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        try:
            yield
        finally:
            process.stdin.close()
            process.wait()
