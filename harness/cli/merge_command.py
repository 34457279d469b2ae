"""`harness merge`: merge the results of several machines into one board."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.wording import counted
from harness.cli.stderr_warnings import warn_of_unused_plugins
from harness.cli.terminal_tables import print_table
from harness.cli.text_lines import print_status

if TYPE_CHECKING:
    from harness.workflow.plan_union import Prefer
    from harness.workflow.results_merging import Merged

TITLES = {
    "runs": "runs",
    "teachers": "teachers",
    "general": "text stages",
    "tuning": "tunings",
    "latency": "latency measurements",
    "examples": "sets of scored examples",
    "failures": "failures",
    "checkpoints": "checkpoints of unfinished runs",
    "journals": "journals of tunings",
}


def merge_folders(folders: Sequence[Path], to: Path, prefer: Prefer | None, plugins: Sequence[str]) -> None:
    """Merge results folders, then print what was copied on stderr and the board on stdout.

    Raises:
        UserError: see `harness.workflow.results_merging.merge_results`.
    """
    from harness.cli.board_view import print_report
    from harness.plugin_host.host import Host
    from harness.workflow.results_merging import merge_results

    host = Host.reporting(plugins)
    warn_of_unused_plugins(host)
    merged = merge_results(folders, to, prefer=prefer, host=host, say=print_status)
    _print_summary(merged)
    assert merged.report is not None  # it raises otherwise
    print_report(merged.report)


def _print_summary(merged: Merged) -> None:
    print_status(f"merged into {merged.store.folder}:")
    rows = [
        (title, merged.copied[kind], merged.kept[kind])
        for kind, title in TITLES.items()
        if merged.copied[kind] or merged.kept[kind]
    ]
    print_table(["what", "copied", "there before"], rows, err=True)
    lines = [
        *([f"in several folders, and equal: {counted(merged.shared, 'result')}"] if merged.shared else []),
        *([f"results that were replaced are in {merged.aside}"] if merged.aside else []),
        *merged.decisions,
    ]
    print("\n".join([*lines, ""]), file=sys.stderr)
