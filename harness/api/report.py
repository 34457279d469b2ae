"""The interfaces of report sections and report formats."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.api.names import NAME_RULE, is_name

if TYPE_CHECKING:  # plugins read these types and never create them
    from harness.analysis.summary import Summary
    from harness.plots import Plot
    from harness.reporting.board import Board


@dataclass(frozen=True)
class Section:
    """A section of leaderboard.md that a plugin computes from the results.

    Attributes:
        title: the heading, without markup.
        text: Markdown below the heading; headings in it are of level 3 or below.
        file: name of the data file without suffix: ``sections/<file>.csv``. Sections with equal names share the file.
        rows: the data, unrounded; empty: no file is written.

    Raises:
        ValueError: there are rows but `file` is not a valid name.
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
        """The section with its heading."""
        return f"## {self.title}\n\n{self.text.strip()}"


@dataclass(frozen=True)
class Content:
    """The content of a report, which a format turns into a file.

    Attributes:
        summary: the results as numbers.
        board: the results as formatted strings.
        sections: the sections of all plugins.
        plots: the plots that are written as PNG and SVG.
        formats: names of all formats that the report is written in.
    """

    summary: Summary
    board: Board
    sections: Sequence[Section] = ()
    plots: Sequence[Plot] = ()
    formats: Sequence[str] = ()


Reporter = Callable[[Content], str]
"""Returns the text of ``leaderboard.<name>``. A pure function of its argument: equal results give equal bytes."""

FORMAT_NAME = re.compile(r"[a-z0-9]+")
"""Valid names of formats, which are file name extensions."""
