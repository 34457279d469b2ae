"""Leaderboards, latency tables, HTML pages and plots, written from the stored results of a suite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.plugin_host.host import Host
    from harness.reporting.written_report import Report


def report(folder: Path, host: Host | None = None) -> Report:
    """Write all report files of the results in `folder` (``results/<suite>``) and return the report.

    If neither the results nor the files have changed since the last report, nothing is computed and written again.
    `host` provides the plugins' formats and sections; by default the installed plugins.

    Raises:
        UserError: see `harness.reporting.report_files.write`.
    """
    from harness.plugin_host.host import Host
    from harness.reporting.unchanged_reports import written_or_recalled
    from harness.storage.store import Store

    store, host = Store.existing(folder), host or Host.reporting()

    def write() -> Report:
        from harness.reporting import report_files  # imports pandas, which takes half a second

        return report_files.write(store.folder, host)

    return written_or_recalled(store.folder, host, write)


def paper_table(folder: Path, columns: Sequence[str]) -> str:
    """Return the table of leaderboard.tex with the named columns, and write nothing.

    Raises:
        UserError: a column is unknown, or see `harness.reporting.report_files.write`.
    """
    from harness.analysis.aggregate import summarize
    from harness.reporting.board import build
    from harness.reporting.latex.tex_table import document
    from harness.storage.store import Store

    summary = summarize(Store.existing(folder))
    return document(summary, build(summary), columns)


def latency_report(folder: Path) -> tuple[Path, ...]:
    """Write the latency tables of a folder that has measurements but no leaderboard; return their paths."""
    from harness.reporting.report_files import write_latency

    return write_latency(folder)
