"""Plots of a report, as PNG and SVG. The same results give the same bytes.

matplotlib is imported only when plots are drawn, and its global settings are restored afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.analysis.summary import Summary

FOLDER = "plots"
"""Folder of the plots, relative to the results."""


@dataclass(frozen=True)
class Plot:
    """A drawn plot. `files` maps a file ending to its bytes. The image includes `title`, `caption` and `marks`, the
    board's limitations."""

    name: str
    title: str
    marks: str
    caption: str
    files: Mapping[str, bytes]

    @property
    def alt(self) -> str:
        """The alternative text of the image."""
        return f"{self.title}{f' ({self.marks})' if self.marks else ''}. {self.caption}"


def draw(summary: Summary) -> tuple[Plot, ...]:
    """Draw the plots that have data: ``pareto`` (``pareto-2``, ... for further machines), ``tasks``, and ``learning``
    (``learning-2``, ... for further students)."""
    from harness.plots import learning_figure, pareto_figure, scores_figure  # matplotlib is slow to import
    from harness.plots.plot_style import harness_style

    with harness_style():
        sheets = [*pareto_figure.sheets(summary), *scores_figure.sheets(summary), *learning_figure.sheets(summary)]
        return tuple(Plot(sheet.name, sheet.title, sheet.marks, sheet.caption, sheet.files()) for sheet in sheets)


def files(plots: Sequence[Plot]) -> dict[str, bytes]:
    """Return the files to write: path relative to the results -> bytes."""
    return {f"{FOLDER}/{plot.name}.{ending}": content for plot in plots for ending, content in plot.files.items()}
