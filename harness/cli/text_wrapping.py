"""Wraps sentences for a terminal without breaking a number from its unit, interval or sign."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

UNIT = r"(?:%|±|×|\[|points?\b|seeds?\b|tokens?\b|runs?\b|examples?\b|ms\b|min\b|s\b|h\b|M\b|GB\b|MiB\b|GiB\b)"
_GLUED = re.compile(
    rf"(?<=[\d%×\]]) (?={UNIT})"  # 12.3 min, 91.5 ± 0.3, 63 % [51, 74]
    r"|(?<=[±=<>]) (?=[-+<]?\.?\d)"  # ± 0.3, = 0.012
    r"|(?<=\bp) (?=[<=])"  # p = 0.012
    r"|(?<=[\d],) (?=[-+]?\d[\d.]*\])"  # [51, 74]
)
GLUE = "\N{NO-BREAK SPACE}"


def wrap(text: str, width: int, most: int | None = None, indent: str = "") -> list[str]:
    """Return `text` in lines of at most `width` characters; lines after the first start with `indent`.

    Words longer than a line, such as paths, stay whole, so that they can be copied.

    Args:
        most: maximum number of lines; the last one then ends with an ellipsis.
    """
    lines = textwrap.wrap(
        _GLUED.sub(GLUE, text),
        width,
        subsequent_indent=indent,
        max_lines=most,
        placeholder=" ...",
        break_on_hyphens=False,
        break_long_words=False,
    )
    return [line.replace(GLUE, " ") for line in lines] or [""]


def longest_word(text: str) -> int:
    """Return the length of the longest part of `text` that `wrap` cannot break."""
    return max(map(len, re.split(r"[ \t\n]+", _GLUED.sub(GLUE, text))))


def title_lines(title: str, width: int) -> Iterator[str]:
    """Yield the lines of a column's title: it is broken at spaces and underscores, where it has to be."""
    line = ""
    for piece in re.findall(r"[^ _]+[ _]*|[ _]+", title):
        if line and len((line + piece).rstrip()) > width:
            yield line.rstrip()
            line = ""
        line += piece
    yield line.rstrip()


def longest_piece(title: str) -> int:
    """Return the length of the longest line that `title_lines` cannot break."""
    return max((len(piece.rstrip()) for piece in re.findall(r"[^ _]+[ _]*", title)), default=0)
