"""Style shared by all plots: size, fonts, colours, markers, title and caption."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ft2font import LoadFlags
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

from harness.analysis import board_marks
from harness.analysis.summary import BoardRow, Summary

WIDTH = 9.0
"""Width of a figure in inches; GitHub shows 100 pixels per inch."""

DPI = 200
"""Resolution of the PNG: two pixels for each pixel that GitHub shows."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""The colour-blind-safe palette of Okabe and Ito, without yellow (too light) and black (used for teachers)."""

MARKERS = "os^DvPX"
"""Markers; their number has no common factor with that of the colours, so 42 rows look different."""

Stroke = Literal["-", "--", ":", "-."]

LINES: tuple[Stroke, ...] = ("-", "--", ":", "-.")
"""Line styles; the style changes after all colours are used."""

TEACHER = "black"
INK = "#222222"
GREY = "#595959"
FAINT = "#E3E3E3"

MOST_ACROSS = 4
"""Maximum number of panels next to each other."""

NAMED = 6
"""Number of rows that a caption names as left out; of more it gives the number."""

TITLE, LINE = 0.4, 0.16
"""Heights in inches of the title, and of a line of the caption."""

SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # bundled with matplotlib
    "font.size": 8.5,
    "text.parse_math": False,  # a label may contain $
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.axisbelow": True,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "svg.fonttype": "path",  # looks the same without the font installed
    "svg.hashsalt": "kd-harness",  # makes the ids reproducible
}


@contextmanager
def harness_style() -> Iterator[None]:
    """Apply `SETTINGS`, independent of the user's matplotlibrc; restore the previous settings on exit."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(cast(Any, SETTINGS))
        yield


@dataclass(frozen=True)
class RowStyle:
    """Colour, marker and line style of a row, the same in every plot."""

    colour: str
    marker: str
    line: Stroke = "-"

    @property
    def dot(self) -> dict[str, Any]:
        """Arguments of `Axes.plot` for a marker with a thin white edge; thin markers are slightly larger."""
        size = {"*": 8.5, "P": 6.5, "X": 6.5}.get(self.marker, 5.5)
        return {"marker": self.marker, "color": self.colour, "markersize": size, "markeredgecolor": "white",
                "markeredgewidth": 0.4}  # fmt: skip


def row_style(row: BoardRow, summary: Summary) -> RowStyle:
    """Return the style of a row: by a method's position in the suite; a black star for a teacher."""
    if row.role == "teacher":
        return RowStyle(TEACHER, "*")
    position = summary.plan.labels.index(row.label)
    colour, line = COLOURS[position % len(COLOURS)], LINES[position // len(COLOURS) % len(LINES)]
    return RowStyle(colour, MARKERS[position % len(MARKERS)], line)


def draw_points(axes: Axes, points: Mapping[RowStyle, Sequence[tuple[float, float]]]) -> None:
    """Draw points (x, y), one artist for each style."""
    for style, places in points.items():
        xs, ys = zip(*places, strict=True)
        axes.plot(xs, ys, linestyle="none", zorder=4, **style.dot)


class Sheet:
    """A figure with positions in inches. It includes the title, the caption and the board's limitations, so that it can
    be used alone.

    Attributes:
        marks: words for the board's limitations, such as "SYNTHETIC"; may be empty.
        top: inches above the body.
        height: height of the figure in inches.
    """

    def __init__(self, summary: Summary, name: str, title: str, caption: str, body: float) -> None:
        self.name, self.title, self.caption = name, f"{summary.plan.suite}: {title}", caption
        self.marks = ", ".join(word for word, _ in board_marks.marks(summary))
        lines = textwrap.wrap(caption, 160)
        self.top = TITLE + LINE * bool(self.marks)
        self.height = self.top + body + 0.15 + LINE * len(lines)
        self.figure = Figure(figsize=(WIDTH, self.height), dpi=DPI)
        FigureCanvasAgg(self.figure)
        self._text(0.12, shorten(self.title, 88, 60), va="top", fontsize=11, weight="bold")
        self._text(0.34, self.marks, va="top", fontsize=7.5, color=COLOURS[1])
        self._text(self.height - 0.08, "\n".join(lines), va="bottom", fontsize=7.5, color=GREY, linespacing=1.35)

    def _text(self, down: float, text: str, **style: Any) -> None:
        self.figure.text(0.1 / WIDTH, 1 - down / self.height, text, **style)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Add axes with their upper left corner `left` inches from the edge and `top` inches below the body's top."""
        bottom = self.height - self.top - top - height
        return self.figure.add_axes(
            (left / WIDTH, bottom / self.height, width / WIDTH, height / self.height), facecolor="none"
        )

    def files(self) -> dict[str, bytes]:
        """Return file ending -> bytes. Date and matplotlib version are left out, so that the bytes are reproducible."""
        metadata = {"Title": self.title, "Description": self.caption}
        png, svg = io.BytesIO(), io.BytesIO()
        self.figure.savefig(png, format="png", metadata={**metadata, "Software": None})
        self.figure.savefig(svg, format="svg", metadata={**metadata, "Creator": None, "Date": None})
        return {"png": png.getvalue(), "svg": svg.getvalue()}


def text_widths(texts: Iterable[str], size: float) -> list[float]:
    """Return the width of each text in inches, at a font size of `size` points."""
    font = get_font(findfont(FontProperties()))
    font.set_size(size, 72)
    lengths = []
    for text in texts:
        font.set_text(text, flags=LoadFlags.NO_HINTING)
        lengths.append(font.get_width_height()[0] / 64 / 72)  # in 64ths of a point
    return lengths


def grid(panels: int) -> tuple[int, int]:
    """Return the numbers of panels across and down, with the last line as full as possible."""
    down = -(-panels // MOST_ACROSS)
    return -(-panels // down), down


def set_log_ticks(axis: Axis, limits: tuple[float, float], unit: str = "") -> None:
    """Set a few round ticks on a logarithmic axis, for any range."""
    low, high = limits
    decades = math.log10(high / low)
    digits = (1,) if decades > 3 else (1, 3) if decades > 1.5 else (1, 1.5, 2, 3, 5, 7)
    candidates = [digit * 10.0**power for power in range(-30, 31) for digit in digits]
    ticks = [tick for tick in candidates if low <= tick <= high]
    if len(ticks) < 3:
        ticks = [tick for tick in MaxNLocator(6).tick_values(low, high) if low <= tick <= high]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter([f"{tick:.4g}{unit}" for tick in ticks]))
    axis.set_minor_locator(NullLocator())


def shorten(text: str, most: int = 52, head: int = 15) -> str:
    """Shorten a long text in the middle, because labels of a grid start alike and differ at the end."""
    return text if len(text) <= most else f"{text[:head]}…{text[head + 1 - most :]}"


def rows_left_out(rows: Sequence[tuple[BoardRow, str]]) -> str:
    """Return the sentence of a caption that lists the rows not shown, each with the reason."""
    if not rows:
        return ""
    named = [f"{' '.join(filter(None, (row.label, row.student)))} ({reason})" for row, reason in rows[:NAMED]]
    more = [f"{len(rows) - NAMED} more"] if len(rows) > NAMED else []
    return f" Left out: {', '.join([*named, *more])}."
