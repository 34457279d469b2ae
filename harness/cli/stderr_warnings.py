"""Warnings that several commands print on stderr."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.plugin_host.host import Host
    from harness.storage.plan_file import DataReport, TruncatedTexts


def warn_of_unused_plugins(host: Host) -> None:
    """Print a line for each installed plugin that could not be loaded, and for what is left out or overridden."""
    for plugin in host.plugins:
        if plugin.error:
            print(f"warning: plugin {plugin.name!r} is not loaded: {plugin.error} ({plugin.origin})", file=sys.stderr)
        for message in plugin.left_out:
            print(f"warning: plugin {plugin.name!r}: {message} ({plugin.origin})", file=sys.stderr)
        for message in plugin.overridden:
            print(f"note: plugin {plugin.name!r}: {message} ({plugin.origin})", file=sys.stderr)


def warn_of_data(
    reports: Mapping[str, DataReport],
    truncated: Mapping[str, Sequence[TruncatedTexts]] | None = None,
    *,
    max_length: str = "`training.max_length`",
) -> None:
    """Print a line for each validation split that shares texts with the training split, for labels that are hardly
    learned, and for texts that are truncated, if it is known what is. `max_length`: what to raise for these."""
    from harness.analysis.data_notes import warnings

    for warning in warnings(reports, truncated, max_length=max_length):
        print(f"warning: {warning}", file=sys.stderr)
