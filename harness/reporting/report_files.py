"""Writes the files of a report from the store. The same store gives the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness import plots
from harness.analysis import speed_up
from harness.analysis.aggregate import summarize
from harness.api.report import FORMAT_NAME, Content, Section
from harness.plugin_host.host import Host
from harness.reporting import page, sections
from harness.reporting.board import Board, build
from harness.reporting.formats import table_csv
from harness.reporting.latency import latency_tables
from harness.storage import atomic_writes
from harness.storage.store import Store


@dataclass(frozen=True)
class Report:
    """A written report: its board, Markdown text, file paths and sections. `texts` maps each format to its text."""

    board: Board
    markdown: str
    files: tuple[Path, ...]
    sections: tuple[Section, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)


def write(folder: Path, host: Host | None = None) -> Report:
    """Write the leaderboard of the results in `folder`, and the latency tables if there are measurements.

    `host` provides the plugins' formats and sections; by default the installed plugins.

    Raises:
        UserError: `folder` has no results, a file cannot be read, or the results cannot share one board. The existing
            files are then left unchanged.
    """
    store, host = Store.existing(folder), host or Host.reporting()
    summary, reporters = summarize(store), host.reporters
    content = Content(summary, build(summary), sections.collect(host, summary), plots.draw(summary), tuple(reporters))
    formats = {name: reporter(content) for name, reporter in reporters.items()}
    texts = {store.folder / f"leaderboard.{name}": text for name, text in formats.items()}
    texts[store.folder / "index.html"], details = page.page(content, store)
    texts |= _latency_texts(store, summary.plan.suite)
    texts |= {
        store.folder / sections.FOLDER / f"{name}.csv": table_csv(rows)
        for name, rows in sections.data(content.sections).items()
    }
    images = {store.folder / path: image for path, image in plots.files(content.plots).items()}
    detail_paths = {store.folder / page.FOLDER / name: name for name in details.names}
    stale = set(_replaceable_files(store)) - {*texts, *images, *detail_paths}
    for path, name in detail_paths.items():  # before the page that loads them
        _write_if_changed(path, details.text(name))
    for path, text in texts.items():
        atomic_writes.write_text(path, text)
    for path, image in images.items():
        atomic_writes.write_bytes(path, image)
    for path in stale:
        atomic_writes.remove(path)
    return Report(content.board, formats["md"], (*texts, *images, *detail_paths), tuple(content.sections), formats)


def _replaceable_files(store: Store) -> Iterator[Path]:
    """Yield existing files that an earlier report wrote and the new one may omit. Other files are never removed."""
    yield from store.folder.glob(f"{sections.FOLDER}/*.csv")
    yield from plots.existing_files(store.folder)
    yield from page.existing_files(store.folder)
    yield from _latency_files(store)
    yield from (store.folder / f"leaderboard.{name}" for name in _previous_formats(store.folder / "leaderboard.json"))


def _write_if_changed(path: Path, text: str) -> None:
    """Write a file unless it has this text already: replacing and syncing thousands of files takes minutes."""
    try:
        unchanged = path.read_bytes() == text.encode()
    except OSError:
        unchanged = False
    if not unchanged:
        atomic_writes.write_text(path, text)


def _previous_formats(path: Path) -> list[str]:
    """Return the formats that the last leaderboard.json lists. Only these files are known to come from a report."""
    try:
        formats = json.loads(path.read_text(encoding="utf-8"))["formats"]
        return [name for name in formats if FORMAT_NAME.fullmatch(name)]
    except (OSError, ValueError, LookupError, TypeError):  # no report yet, an older version, or an edited file
        return []


def write_latency(folder: Path) -> tuple[Path, ...]:
    """Write only the latency tables of `folder`; return their paths. Raises `UserError` as `write` does."""
    store = Store(folder)
    texts = _latency_texts(store, folder.name)
    for path, text in texts.items():
        atomic_writes.write_text(path, text)
    for path in set(_latency_files(store)) - set(texts):
        atomic_writes.remove(path)
    return tuple(texts)


def _latency_files(store: Store) -> tuple[Path, Path]:
    return store.folder / "latency.md", store.folder / "latency.csv"


def _latency_texts(store: Store, title: str) -> dict[Path, str]:
    """Return path -> text of latency.md and latency.csv; empty if there are no measurements."""
    records = store.latencies()
    if not records:
        return {}
    texts = latency_tables.markdown(title, records), table_csv(speed_up.csv_rows(records))
    return dict(zip(_latency_files(store), texts, strict=True))
