"""Plain text as LaTeX that every engine compiles: escaped, on one line, in ASCII."""

from __future__ import annotations

import re
import unicodedata

from harness.reporting.board import COLLAPSED, IDLE, TOP

ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
    '"': "''",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "→": r"$\to$",
    "·": r"$\cdot$",
    "µ": r"$\mu$",
    "–": "--",
    "—": "---",
    "−": "$-$",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "…": r"\ldots{}",
    "√": r"$\surd$",
    "²": "$^2$",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    TOP: r"$\bullet$",
    IDLE: r"$\dagger$",
    COLLAPSED: r"$\ddagger$",
}

ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
}
"""Combining character -> LaTeX command."""


def one_line(text: str) -> str:
    """Return the text without line breaks and other control characters."""
    printable = (" " if unicodedata.category(sign) in ("Cc", "Zl", "Zp") else sign for sign in text)
    return " ".join("".join(printable).split())


def comment(text: str) -> str:
    """Return the text as one comment line."""
    return f"% {one_line(text)}"


def escape(text: str) -> str:
    """Escape plain text for LaTeX. A character that pdflatex does not know becomes its code point, as ``U+4E2D``."""
    return "".join(map(_escaped, one_line(text)))


def words(text: str) -> str:
    """Escape a sentence; `code` becomes typewriter type."""
    parts = re.split(r"`([^`]*)`", text)
    return "".join(rf"\texttt{{{escape(part)}}}" if index % 2 else _spaced(part) for index, part in enumerate(parts))


def _spaced(text: str) -> str:
    """Escape text next to `code`, and keep a space at its ends."""
    return f"{' ' * text[:1].isspace()}{escape(text)}{' ' * (text[-1:].isspace() and bool(text.strip()))}"


def _escaped(sign: str) -> str:
    if sign in ESCAPES:
        return ESCAPES[sign]
    if sign.isascii():
        return sign
    decomposed = unicodedata.normalize("NFD", sign)
    base, mark = decomposed[:1], decomposed[1:]
    if base.isascii() and base.isalpha() and mark in ACCENTS:
        return rf"\{ACCENTS[mark]}{{{base}}}"
    return f"U+{ord(sign):04X}"
