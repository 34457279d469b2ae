"""What a plugin adds to a report: sections and formats."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.api.names import NAME_RULE, is_name

if TYPE_CHECKING:  # what a report is made of; a plugin reads it and makes none
    from harness.analysis.summary import Summary
    from harness.plots import Plot
    from harness.reporting.board import Board


@dataclass(frozen=True)
class Section:
    """A part of leaderboard.md that a plugin makes from the results.

    Attributes:
        title: its heading, without markup.
        text: Markdown below the heading; its own headings are of the third level or below.
        file: the name of its data, without suffix: ``sections/<file>.csv``. Sections of one name share the file.
        rows: its data, unrounded; empty: no file is written.

    Raises:
        ValueError: there are rows, and `file` is not a valid name.
    """

    title: str
    text: str
    file: str = ""
    rows: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        if self.rows and not is_name(self.file):
            raise ValueError(
                f"section {self.title!r} has rows, so `file` must name their CSV file; found {self.file!r}, "
                f"allowed: {NAME_RULE}"
            )

    @property
    def markdown(self) -> str:
        return f"## {self.title}\n\n{self.text.strip()}"


@dataclass(frozen=True)
class Content:
    """What a format is given.

    Attributes:
        summary: the numbers.
        board: the same as strings, ready to be printed.
        sections: those of all plugins.
        plots: those that are drawn, as PNG and SVG.
        formats: the names of all formats that the report is written in.
    """

    summary: Summary
    board: Board
    sections: Sequence[Section] = ()
    plots: Sequence[Plot] = ()
    formats: Sequence[str] = ()


Reporter = Callable[[Content], str]
"""Returns the whole text of ``leaderboard.<name>``. It reads its argument alone: same results, same bytes."""

FORMAT_NAME = re.compile(r"[a-z0-9]+")
"""What a format may be called: the ending of its file."""
