"""What all plots share: size, type, colours, the title above and the caption below."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence
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
from harness.analysis.summary import Row, Summary

WIDTH = 9.0
"""Inches, of which GitHub shows a hundred pixels each."""

DPI = 200
"""Of the PNG: two pixels for each that GitHub shows."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's, which colour-blind readers tell apart; without yellow, which white swallows, and black, which is the
teachers'."""

MARKERS = "os^DvPX"
"""As many as have no factor in common with the colours: 42 rows look different."""

Stroke = Literal["-", "--", ":", "-."]

LINES: tuple[Stroke, ...] = ("-", "--", ":", "-.")
"""One after the other, each for as many rows as there are colours."""

TEACHER = "black"
INK = "#222222"
GREY = "#595959"
FAINT = "#E3E3E3"

TITLE, LINE = 0.4, 0.16
"""Inches, for the title and for a line of the caption."""

SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 8.5,
    "text.parse_math": False,  # a label with two $ is no formula
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.axisbelow": True,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "svg.fonttype": "path",  # looks the same whatever fonts are there
    "svg.hashsalt": "kd-harness",  # else ids are drawn by chance
}


@contextmanager
def harness_style() -> Iterator[None]:
    """Within it matplotlib's settings are ours, whatever the user's matplotlibrc says; then they are what they were."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(cast(Any, SETTINGS))
        yield


@dataclass(frozen=True)
class RowStyle:
    """How a row of the board looks in every plot."""

    colour: str
    marker: str
    line: Stroke = "-"

    @property
    def dot(self) -> dict[str, Any]:
        """A marker with a thin white edge, for `Axes.plot`; marks of few strokes are a little larger."""
        size = {"*": 8.5, "P": 6.5, "X": 6.5}.get(self.marker, 5.5)
        return {"marker": self.marker, "color": self.colour, "markersize": size, "markeredgecolor": "white",
                "markeredgewidth": 0.4}  # fmt: skip


def row_style(row: Row, summary: Summary) -> RowStyle:
    """A method's by its place in the suite; a teacher is a black star."""
    if row.role == "teacher":
        return RowStyle(TEACHER, "*")
    place = summary.plan.labels.index(row.label)
    colour, line = COLOURS[place % len(COLOURS)], LINES[place // len(COLOURS) % len(LINES)]
    return RowStyle(colour, MARKERS[place % len(MARKERS)], line)


class Sheet:
    """A figure whose places are told in inches. Title and caption are part of it, so that it can stand alone, and so
    are the words that limit what the board may claim.

    Attributes:
        marks: those words, empty if there are none.
        top: inches above the body.
        height: of the whole.
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

    def _text(self, down: float, text: str, **how: Any) -> None:
        self.figure.text(0.1 / WIDTH, 1 - down / self.height, text, **how)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes whose upper left corner is that far from the left and from the body's top."""
        bottom = self.height - self.top - top - height
        return self.figure.add_axes(
            (left / WIDTH, bottom / self.height, width / WIDTH, height / self.height), facecolor="none"
        )

    def files(self) -> dict[str, bytes]:
        """The figure by the ending of its file, without the date and the version that made it."""
        about = {"Title": self.title, "Description": self.caption}
        png, svg = io.BytesIO(), io.BytesIO()
        self.figure.savefig(png, format="png", metadata={**about, "Software": None})
        self.figure.savefig(svg, format="svg", metadata={**about, "Creator": None, "Date": None})
        return {"png": png.getvalue(), "svg": svg.getvalue()}


def text_widths(texts: Iterable[str], size: float) -> list[float]:
    """How long each text is, in inches, in type of so many points."""
    font = get_font(findfont(FontProperties()))
    font.set_size(size, 72)
    lengths = []
    for text in texts:
        font.set_text(text, flags=LoadFlags.NO_HINTING)
        lengths.append(font.get_width_height()[0] / 64 / 72)  # it counts in 64ths of a point
    return lengths


def grid(panels: int, most: int = 4) -> tuple[int, int]:
    """How many panels across and down, so that the last line is as full as can be."""
    down = -(-panels // most)
    return -(-panels // down), down


def set_log_ticks(axis: Axis, limits: tuple[float, float], unit: str = "") -> None:
    """A few round numbers on a logarithmic axis, whatever it spans."""
    low, high = limits
    decades = math.log10(high / low)
    digits = (1,) if decades > 3 else (1, 3) if decades > 1.5 else (1, 1.5, 2, 3, 5, 7)
    ladder = [digit * 10.0**power for power in range(-30, 31) for digit in digits]
    ticks = [tick for tick in ladder if low <= tick <= high]
    if len(ticks) < 3:
        ticks = [tick for tick in MaxNLocator(6).tick_values(low, high) if low <= tick <= high]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter([f"{tick:.4g}{unit}" for tick in ticks]))
    axis.set_minor_locator(NullLocator())


def shorten(text: str, most: int = 52, head: int = 15) -> str:
    """A text with its middle left out, if it is long: labels of one grid begin alike, and differ at their end."""
    return text if len(text) <= most else f"{text[:head]}…{text[head + 1 - most :]}"


def rows_left_out(rows: Sequence[tuple[Row, str]], most: int = 6) -> str:
    """What a caption says of rows that are not shown, each with the reason."""
    if not rows:
        return ""
    named = [f"{' '.join(filter(None, (row.label, row.student)))} ({reason})" for row, reason in rows[:most]]
    more = [f"{len(rows) - most} more"] if len(rows) > most else []
    return f" Left out: {', '.join([*named, *more])}."
