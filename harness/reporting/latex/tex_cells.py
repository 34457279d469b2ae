"""Cells of leaderboard.tex: a number with its interval and marks as a siunitx cell, or text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.reporting.board import COLLAPSED, IDLE, TOP
from harness.reporting.latex.tex_text import escape
from harness.reporting.table_model import Line

MARKS = rf"(?P<marks>(?: [{TOP}{IDLE}{COLLAPSED}])*)(?: \((?P<notes>[a-z]+(?:, [a-z]+)*)\))?"
"""The marks at the end of a cell of the board: symbols, then the letters of footnotes."""

NUMBER = re.compile(
    r"(?P<number>[+-]?\d+(?:\.\d+)?)(?P<unit>×?)(?: ± (?P<margin>\d+(?:\.\d+)?)| \[(?P<ends>[^\]]*)\])?" + MARKS
)
TEXT = re.compile(rf"(?P<text>.*?){MARKS}")


@dataclass(frozen=True)
class TexCell:
    """A cell: `number` (empty if it has none) and what follows it, or only text. `marks` are the board's."""

    number: str
    after: str
    marks: tuple[str, ...] = ()

    def tex(self, *, bold: bool) -> str:
        """Return the cell for a siunitx column."""
        if self.number:
            after = f" {{{self.after}}}" if self.after else ""
            return (r"\bfseries " if bold else "") + self.number + after
        return f"{{{self.after}}}" if self.after else ""


def number_cell(text: str) -> TexCell:
    """Return a cell of a column of numbers. The interval is a subscript; marks are a superscript above it."""
    match = NUMBER.fullmatch(text)
    if match is None:
        return text_cell(text)
    margin, ends = match["margin"], match["ends"]
    marks, below = _marks(match), ""
    if margin:
        below = rf"_{{\pm {margin}}}"
    elif ends:
        below = "_{[" + ends.replace(", ", r",\,") + "]}"
    script = f"${_above(marks)}{below}$" if marks or below else ""
    return TexCell(match["number"], (r"$\times$" if match["unit"] else "") + script, marks)


def text_cell(text: str) -> TexCell:
    """Return a cell without a number, such as ``n/a (a)``."""
    match = TEXT.fullmatch(text)
    assert match is not None  # the pattern matches every line
    marks = _marks(match)
    return TexCell("", escape(match["text"]) + (f"${_above(marks)}$" if marks else ""), marks)


def name_cell(text: str, line: Line) -> TexCell:
    """Return the name of a row: a teacher's and a published one say so. A label may itself end in brackets."""
    if line.role == "published":
        cell = text_cell(text)
        return TexCell("", rf"\emph{{{cell.after}}} (published)", cell.marks)
    if line.role == "student":
        top = text.endswith(f" {TOP}")
        return TexCell("", escape(text.removesuffix(f" {TOP}")) + r"$^{\bullet}$" * top, (TOP,) * top)
    return TexCell("", rf"\emph{{{escape(text)}}}" + " (teacher)" * (line.role == "teacher"))


def number_format(cells: Iterable[TexCell]) -> str:
    """Return the options of a siunitx column that is as wide as its numbers and what follows them."""
    known = [cell for cell in cells if cell.number]
    sign = "-" * any(cell.number[0] in "+-" for cell in known)
    whole = max(len(cell.number.lstrip("+-").partition(".")[0]) for cell in known)
    decimals = max(len(cell.number.partition(".")[2]) for cell in known)
    after = max((cell.after for cell in known), key=_width)
    space = f", table-space-text-post={{{after}}}" if after else ""
    return f"table-format={sign}{whole}.{decimals}{space}"


def _width(after: str) -> int:
    return len(re.sub(r"\\[a-z]+|[${}\\,^_]", "", after.replace(r"\pm", "+").replace(r"\times", "x")))


def _marks(match: re.Match[str]) -> tuple[str, ...]:
    return (*match["marks"].split(), *(match["notes"].split(", ") if match["notes"] else ()))


def _above(marks: Sequence[str]) -> str:
    symbols = {TOP: r"\bullet", IDLE: r"\dagger", COLLAPSED: r"\ddagger"}
    return f"^{{{','.join(symbols.get(mark, mark) for mark in marks)}}}" if marks else ""
