"""Records, the store that keeps them, and the reports made from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.plugin_host.host import Host
    from harness.reporting.report_files import Report


def report(folder: Path, host: Host | None = None) -> Report:
    """Write every report of the results in `folder` (``results/<suite>``), and give what a terminal needs to print it.

    `host` has the plugins that are asked for sections; by default those that are installed for it.

    Raises:
        UserError: see `harness.reporting.report_files.write`.
    """
    from harness.reporting.report_files import write  # imports pandas, which takes half a second

    return write(folder, host)


def latency_report(folder: Path) -> tuple[Path, ...]:
    """Write the latency tables of a folder that has measurements and no board, and say where they are."""
    from harness.reporting.report_files import write_latency

    return write_latency(folder)
