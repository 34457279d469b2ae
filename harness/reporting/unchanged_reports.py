"""Recalls the report that was written last if neither its results nor its files have changed since.

What a report is made from: the results (by checksum), the files of the harness and the versions of packages (see
`harness.storage.derived_values`). Formats and sections of other plugins may read anything, so reports that have any are
always written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import ConfigDict

from harness.api.report import Section
from harness.plugin_host.host import Host
from harness.reporting import file_manifest
from harness.reporting.board import Board
from harness.reporting.written_report import Report
from harness.storage import checksums
from harness.storage.derived_values import derived, forget
from harness.storage.frozen_model import FrozenModel

KIND = "reports"

RESULTS = ("runs", "teachers", "general", "latency", "tuning", "examples", "failures")
"""The folders that a report may read. Of the models in them, it only asks whether they are there."""


class _Written(FrozenModel):
    """A written report: what `Report` holds apart from its texts, and the checksum of the manifest of its files."""

    model_config = ConfigDict(ser_json_inf_nan="constants")

    manifest: str | None
    board: Board
    files: tuple[str, ...]
    sections: tuple[Section, ...]
    formats: tuple[str, ...]


def written_or_recalled(folder: Path, host: Host, write: Callable[[], Report]) -> Report:
    """Return the report that was written last if it is the same, otherwise what `write` writes and returns."""
    if not host.has_own_reports_only:
        return write()
    inputs = {"folder": str(folder.resolve())}
    new: list[Report] = []

    def compute() -> _Written:
        new.append(report := write())
        names = tuple(path.relative_to(folder).as_posix() for path in report.files)
        return _Written(
            manifest=file_manifest.intact(folder),
            board=report.board,
            files=names,
            sections=report.sections,
            formats=tuple(report.texts),
        )

    before = file_manifest.intact(folder)
    if before is None:  # a file was edited or deleted, or is there for the first time
        forget(KIND, inputs)
    found = derived(KIND, inputs, _Written, compute, state=lambda: [sorted(host.reporters), *_state(folder)])
    if new:
        return new[0]
    if found.manifest is None or found.manifest != before:  # another version of the harness has written the files since
        return write()
    texts = {name: (folder / f"leaderboard.{name}").read_bytes().decode() for name in found.formats}
    return Report(found.board, texts["md"], tuple(folder / name for name in found.files), found.sections, texts)


def _state(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the path of each file that a report may read with its checksum, and of each folder in a result."""
    yield "plan.json", checksums.of_file(folder / "plan.json")
    for kind in RESULTS:
        if not (folder / kind).is_dir():
            continue
        for path in sorted((folder / kind).iterdir()):
            for part in sorted(path.iterdir()) if path.is_dir() else [path]:
                yield part.relative_to(folder).as_posix(), "" if part.is_dir() else checksums.of_file(part)
