"""Serializes a plan and its jobs for another process.

A job refers to classes of plugins, which pickle stores by module name. The modules of plugin files exist only once a
host has loaded them. A payload therefore holds the plugin paths and the pickled plan; `load` creates the host first.
"""

from __future__ import annotations

import pickle

from harness.planning import Plan
from harness.plugin_host.host import Host


def dump(plan: Plan, host: Host) -> bytes:
    """Serialize a plan with all of its jobs and the paths of the plugins that they need."""
    return pickle.dumps((host.paths, pickle.dumps(plan)))


def load(payload: bytes) -> tuple[Plan, Host]:
    """Restore a payload of `dump`, in any process that can read the plugin files.

    Load only payloads that you trust: unpickling executes code.

    Raises:
        UserError: a plugin file is missing or broken.
    """
    paths, plan = pickle.loads(payload)
    host = Host.create(paths)
    return pickle.loads(plan), host
