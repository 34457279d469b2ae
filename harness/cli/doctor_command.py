"""`harness doctor`: describe the environment for a bug report."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from harness.api.wording import counted
from harness.cli.terminal_tables import print_table


def print_environment() -> None:
    """Print versions, hardware, GPUs, cache, hub access and plugins, with the errors of broken plugins."""
    print_table(["item", "value"], _rows())


def _rows() -> Iterator[tuple[str, str]]:
    from harness.cli import gpu_facts
    from harness.planning.devices import best_device
    from harness.storage import provenance

    yield from provenance.packages().items()
    commit, dirty = provenance.git()
    if commit:
        yield "commit", f"{commit[:12]}{', with uncommitted changes' if dirty else ''}"
    hardware = provenance.hardware(best_device())
    yield "device", f"{hardware.device}: {hardware.name}, {hardware.memory_bytes / 2**30:.0f} GiB"
    cores, threads = counted(hardware.cores, "core"), counted(hardware.threads, "thread")
    yield "processor", f"{provenance.processor()}: {cores}, {threads}"
    yield from gpu_facts.rows(gpu_facts.collect())
    yield "cache", _cache()
    yield "hub", _hub()
    yield from _plugins()


def _cache() -> str:
    from harness.storage import cache_dir

    folder = cache_dir.root()
    parent = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(parent, os.W_OK):  # free space of such a place, often a pseudo file system, means nothing
        return f"{folder} (NOT WRITABLE: set HARNESS_CACHE)"
    return f"{folder} ({shutil.disk_usage(parent).free / 2**30:.0f} GiB free)"


def _hub() -> str:
    from harness.storage.hub import unavailable_reason

    reason = unavailable_reason("google-bert/bert-base-uncased", "model")
    return f"not usable: {reason}; use local folders for models and data" if reason else "reachable"


def _plugins() -> Iterator[tuple[str, str]]:
    from harness.plugin_host.host import Host

    host = Host.create()
    loaded = [plugin for plugin in host.plugins if not plugin.error]
    yield "plugins", f"{len(loaded)} loaded: {counted(len(host.methods), 'method')}, {counted(len(host.tasks), 'task')}"
    for plugin in host.plugins:
        if plugin.error:
            yield f"plugin {plugin.name}", f"not loaded: {plugin.error} ({plugin.origin})"
        for message in plugin.left_out:
            yield f"plugin {plugin.name}", f"{message} ({plugin.origin})"
