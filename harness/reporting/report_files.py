"""The files of a report: written from the store alone, and byte for byte the same when written again."""

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
from harness.reporting import sections
from harness.reporting.board import Board, build
from harness.reporting.formats import table_csv
from harness.reporting.latency import latency_tables as latency_tables
from harness.reporting.page import page
from harness.storage import atomic_writes
from harness.storage.store import Store


@dataclass(frozen=True)
class Report:
    """A leaderboard that was written: its data, its text, and where it is. `texts` has it in each format, by name."""

    board: Board
    markdown: str
    files: tuple[Path, ...]
    sections: tuple[Section, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)


def write(folder: Path, host: Host | None = None) -> Report:
    """Write the leaderboard of the results in `folder`, and the latency tables if there are measurements.

    `host` has the plugins that are asked for sections and formats; by default those that are installed for it.

    Raises:
        UserError: `folder` holds no results, a file cannot be read, or the results cannot stand on one board. The
            files that were there are left as they were.
    """
    store, host = Store.existing(folder), host or Host.reporting()
    summary, make = summarize(store), host.reporters
    content = Content(summary, build(summary), sections.collect(host, summary), plots.draw(summary), tuple(make))
    formats = {name: reporter(content) for name, reporter in make.items()}
    texts = {store.folder / f"leaderboard.{name}": text for name, text in formats.items()}
    texts[store.folder / "index.html"] = page(content, store)
    texts |= _latency_texts(store, summary.plan.suite)
    texts |= {
        store.folder / sections.FOLDER / f"{name}.csv": table_csv(rows)
        for name, rows in sections.data(content.sections).items()
    }
    pictures = {store.folder / path: picture for path, picture in plots.files(content.plots).items()}
    stale = set(_there(store)) - {*texts, *pictures}
    for path, text in texts.items():
        atomic_writes.write_text(path, text)
    for path, picture in pictures.items():
        atomic_writes.write_bytes(path, picture)
    for path in stale:
        atomic_writes.remove(path)
    return Report(content.board, formats["md"], (*texts, *pictures), tuple(content.sections), formats)


def _there(store: Store) -> Iterator[Path]:
    """What reports have written and a report need not write again: no other file of the folder."""
    yield from store.folder.glob(f"{sections.FOLDER}/*.csv")
    yield from plots.existing_files(store.folder)
    yield from _latency_files(store)
    yield from (store.folder / f"leaderboard.{name}" for name in _formats_before(store.folder / "leaderboard.json"))


def _formats_before(path: Path) -> list[str]:
    """Those that the last report was written in, as it tells itself: others may have files of such names, too."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))["formats"]
        return [name for name in told if FORMAT_NAME.fullmatch(name)]
    except (OSError, ValueError, LookupError, TypeError):  # none, of an older version, or no longer as it was written
        return []


def write_latency(folder: Path) -> tuple[Path, ...]:
    """Write the latency tables of `folder` alone, and say where they are. Raises `UserError` as `write` does."""
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
    """latency.md and latency.csv, if there are measurements."""
    measured = store.latencies()
    if not measured:
        return {}
    texts = latency_tables.markdown(title, measured), table_csv(speed_up.csv_rows(measured))
    return dict(zip(_latency_files(store), texts, strict=True))
