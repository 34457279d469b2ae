"""The plots of a report, as PNG and SVG: a function of the numbers alone, so the same results give the same bytes.

matplotlib is imported where plots are drawn and nowhere else, and its state is left as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.analysis.summary import Summary

FOLDER = "plots"
"""Below the results: where the plots go."""

ENDINGS = ("png", "svg")


@dataclass(frozen=True)
class Plot:
    """A plot that is drawn. `files` has it by the ending of a file; `title`, `marks` (what limits the claim of the
    board) and `caption` stand in the picture, too."""

    name: str
    title: str
    marks: str
    caption: str
    files: Mapping[str, bytes]

    @property
    def alt(self) -> str:
        """What the picture shows, for whom it is not shown to."""
        return f"{self.title}{f' ({self.marks})' if self.marks else ''}. {self.caption}"


def draw(summary: Summary) -> tuple[Plot, ...]:
    """All that there is to show: ``pareto`` (and ``pareto-2``, ... of further machines), ``tasks``, and ``learning``
    (``learning-2``, ... of further students)."""
    from harness.plots import learning_figure, pareto_figure, scores_figure  # matplotlib, which takes half a second
    from harness.plots.plot_style import harness_style

    with harness_style():
        sheets = [*pareto_figure.sheets(summary), *scores_figure.sheets(summary), *learning_figure.sheets(summary)]
        return tuple(Plot(sheet.name, sheet.title, sheet.marks, sheet.caption, sheet.files()) for sheet in sheets)


def existing_files(folder: Path) -> Iterator[Path]:
    """The plots below the results in `folder`, of whatever report."""
    for ending in ENDINGS:
        yield from (folder / FOLDER).glob(f"*.{ending}")


def files(plots: Sequence[Plot]) -> dict[Path, bytes]:
    """What is to be written, by its path below the results."""
    return {Path(FOLDER) / f"{plot.name}.{ending}": content for plot in plots for ending, content in plot.files.items()}
