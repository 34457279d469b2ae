"""Sends a plan and its jobs to another process.

A job refers to classes of plugins, which pickle stores by module name. The modules of plugin files exist only once a
host has loaded them, so a payload holds the plugin paths beside the pickled plan, and `load` creates the host first.
"""

from __future__ import annotations

import pickle

from harness.planning import Plan
from harness.plugin_host.host import Host


def dump(plan: Plan, host: Host) -> bytes:
    """Serialize a plan, with all of its jobs, and the paths of the plugins that they need."""
    return pickle.dumps((host.paths, pickle.dumps(plan)))


def load(payload: bytes) -> tuple[Plan, Host]:
    """Restore what `dump` serialized, in any process that can read the plugin files. Only load payloads that you trust:
    unpickling runs code.

    Raises:
        UserError: a plugin file is missing or broken.
    """
    paths, plan = pickle.loads(payload)
    host = Host.create(paths)
    return pickle.loads(plan), host
