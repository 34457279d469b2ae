"""Loads a plugin for its tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.plugin_host.host import Host


def load_plugin(path: str | Path) -> Host:
    """Load a plugin, a .py file or a folder, as the commands do, without any other plugin.

    Returns:
        What it registers, by name: ``load_plugin(path).methods["mine"]``; also `tasks`, `metrics`, `reporters`,
        `latency_backends`, `engines` and `trackers`.

    Raises:
        UserError: it does not exist, or cannot be loaded.
    """
    from harness.plugin_host.host import Host

    return Host.at([path])
