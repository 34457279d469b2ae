"""Writes the files of a report from the store. The same store gives the same bytes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from harness import plots
from harness.analysis import speed_up
from harness.analysis.aggregate import summarize
from harness.api.errors import UserError, describe
from harness.api.report import Content
from harness.plugin_host.host import Host
from harness.reporting import best_models, file_manifest, page, sections
from harness.reporting.board import build
from harness.reporting.formats import table_csv
from harness.reporting.latency import latency_tables
from harness.reporting.written_report import Report
from harness.storage.latency_records import LatencyRecord
from harness.storage.store import Store

log = logging.getLogger("harness")

LATENCY_FILES = ("latency.md", "latency.csv")


def write(folder: Path, host: Host | None = None) -> Report:
    """Write the leaderboard of the results in `folder`, and the latency tables if there are measurements.

    `host` provides the plugins' formats and sections; by default the installed plugins.

    Raises:
        UserError: `folder` has no results, a file cannot be read, the results cannot share one board, or a symbolic
            link is in the way. The existing files are then left unchanged.
    """
    store, host = Store.existing(folder), host or Host.reporting()
    summary = summarize(store, with_examples=True)
    own_sections, formats = sections.collect(host, summary), tuple(host.reporters)
    content = Content(summary, build(summary), own_sections, plots.draw(summary), formats)
    texts = _texts(content, host)
    index, details = page.page(content, store)
    detail_files = {f"{page.FOLDER}/{name}": partial(details.text, name) for name in details.names}
    files: dict[str, file_manifest.Content] = {f"leaderboard.{name}": text for name, text in texts.items()}
    files["index.html"] = index
    files |= _latency_texts(summary.measurements, summary.plan.suite)
    files |= {
        f"{sections.FOLDER}/{name}.csv": table_csv(rows) for name, rows in sections.data(content.sections).items()
    }
    files |= plots.files(content.plots)
    pointers = best_models.files(store, summary)
    file_manifest.replace(store.folder, {**detail_files, **files, **pointers})  # the page loads the details
    paths = tuple(store.folder / name for name in files)
    return Report(content.board, texts["md"], paths, tuple(content.sections), texts)


def _texts(content: Content, host: Host) -> dict[str, str]:
    """Return format -> text. A format of a plugin that fails is logged and left out, except ``md``.

    Raises:
        UserError: a plugin provides ``md``, and fails.
    """
    texts: dict[str, str] = {}
    for name, reporter in host.reporters.items():
        try:
            text: object = reporter(content)
            if not isinstance(text, str):
                raise TypeError(f"expected a text, got a {type(text).__name__}")
        except (Exception, SystemExit) as error:
            if host.is_shipped("format", name):
                raise
            message = f"format {name!r} of {host.origin_of('format', name)} failed: {describe(error)}"
            if name == "md":
                raise UserError(message) from error
            log.warning("%s", message)
            log.debug("the plugin's traceback", exc_info=True)
        else:
            texts[name] = text
    return texts


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
