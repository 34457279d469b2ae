"""Writes the files of a report from the store. The same store gives the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from harness import plots
from harness.analysis import speed_up
from harness.analysis.aggregate import summarize
from harness.api.report import Content
from harness.plugin_host.host import Host
from harness.reporting import best_models, file_manifest, page, sections
from harness.reporting.board import build
from harness.reporting.formats import table_csv
from harness.reporting.latency import latency_tables
from harness.reporting.written_report import Report
from harness.storage.latency_records import LatencyRecord
from harness.storage.store import Store

LATENCY_FILES = ("latency.md", "latency.csv")


def write(folder: Path, host: Host | None = None) -> Report:
    """Write the leaderboard of the results in `folder`, and the latency tables if there are measurements.

    `host` provides the plugins' formats and sections; by default the installed plugins.

    Raises:
        UserError: `folder` has no results, a file cannot be read, the results cannot share one board, or a symbolic
            link is in the way. The existing files are then left unchanged.
    """
    store, host = Store.existing(folder), host or Host.reporting()
    summary, reporters = summarize(store, with_examples=True), host.reporters
    content = Content(summary, build(summary), sections.collect(host, summary), plots.draw(summary), tuple(reporters))
    formats = {name: reporter(content) for name, reporter in reporters.items()}
    index, details = page.page(content, store)
    detail_files = {f"{page.FOLDER}/{name}": partial(details.text, name) for name in details.names}
    files: dict[str, file_manifest.Content] = {f"leaderboard.{name}": text for name, text in formats.items()}
    files["index.html"] = index
    files |= _latency_texts(summary.measurements, summary.plan.suite)
    files |= {
        f"{sections.FOLDER}/{name}.csv": table_csv(rows) for name, rows in sections.data(content.sections).items()
    }
    files |= plots.files(content.plots)
    pointers = best_models.files(store, summary)
    file_manifest.replace(store.folder, {**detail_files, **files, **pointers})  # the page loads the details
    paths = tuple(store.folder / name for name in files)
    return Report(content.board, formats["md"], paths, tuple(content.sections), formats)


def write_latency(folder: Path) -> tuple[Path, ...]:
    """Write only the latency tables of `folder`; return their paths. Raises `UserError` as `write` does."""
    store = Store(folder)
    texts = _latency_texts(store.latencies(), folder.name)
    file_manifest.replace(store.folder, texts, removable=LATENCY_FILES)
    return tuple(store.folder / name for name in texts)


def _latency_texts(records: Sequence[LatencyRecord], title: str) -> dict[str, str]:
    """Return name -> text of latency.md and latency.csv; empty if there are no measurements."""
    if not records:
        return {}
    texts = latency_tables.markdown(title, records), table_csv(speed_up.csv_rows(records))
    return dict(zip(LATENCY_FILES, texts, strict=True))
