"""A report that has been written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.api.report import Section
from harness.reporting.board import Board


@dataclass(frozen=True)
class Report:
    """A written report: its board, Markdown text, file paths and sections. `texts` maps each format to its text.

    `files` does not list the files in ``details`` and ``best``, of which there can be thousands.
    """

    board: Board
    markdown: str
    files: tuple[Path, ...]
    sections: tuple[Section, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
