"""Writes leaderboard.tex: the board's tables for a paper. They need the packages booktabs and graphicx."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from harness.reporting.board import COLLAPSED, IDLE, TOP, Board
from harness.reporting.table_model import Column, Line

BREAK = r" \\ "

ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    "−": "$-$",
    "√": r"$\surd$",
    "²": r"$^2$",
    TOP: r"$\bullet$",
    IDLE: r"$\dagger$",
    COLLAPSED: r"$\ddagger$",
}


def escape(text: str) -> str:
    """Escape plain text for LaTeX."""
    return "".join(ESCAPES.get(sign, sign) for sign in text)


def document(board: Board) -> str:
    """Return a table* with its footnotes, then the secondary tables, for use with ``\\input``."""
    return "\n\n".join(_parts(board)) + "\n"


def _parts(board: Board) -> Iterator[str]:
    comments = [*(f"{name}: {text}" for name, text in board.provenance), *_citations(board)]
    yield "\n".join([*(f"% {comment}" for comment in comments), r"% \usepackage{booktabs, graphicx}"])
    below = [f"{mark} {text}" for mark, text in (*board.footnotes, *((f"{word}:", text) for word, text in board.marks))]
    yield _table(board.title, board.columns, board.lines, [*below, *board.reading[:1]])
    for table in board.tables:
        yield _table(table.title, table.columns, table.lines, [])


def _citations(board: Board) -> Iterator[str]:
    """Yield the methods' ``\\cite`` commands, with the keys of leaderboard.bib."""
    for entry in board.citations:
        if entry.key:
            yield rf"Cite {', '.join(entry.methods)} with \cite{{{entry.key}}}, from leaderboard.bib"


def _table(title: str, columns: Sequence[Column], lines: Sequence[Line], below: Sequence[str]) -> str:
    align = "".join("l" if column.align == "left" else "r" for column in columns)
    head = " & ".join(rf"\shortstack{{{BREAK.join(escape(line) for line in column.lines)}}}" for column in columns)
    return "\n".join(
        [
            r"\begin{table*}[t]",
            r"\centering",
            rf"\caption{{{_words(title)}}}",
            r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{@{{}}{align}@{{}}}}",
            r"\toprule",
            rf"{head} \\",
            r"\midrule",
            *_rows(lines),
            r"\bottomrule",
            r"\end{tabular}}",
            *([rf"\par\smallskip\footnotesize {BREAK.join(_words(text) for text in below)}"] if below else []),
            r"\end{table*}",
        ]
    )


def _rows(lines: Sequence[Line]) -> Iterator[str]:
    previous: Line | None = None
    for line in lines:
        if previous is not None and previous.group != line.group:
            yield r"\midrule"
        yield " & ".join(_cell(line, index, text) for index, text in enumerate(line.cells)) + r" \\"
        previous = line


def _cell(line: Line, index: int, text: str) -> str:
    if index in line.best:
        return rf"\textbf{{{escape(text)}}}"
    return rf"\emph{{{escape(text)}}}" if line.role != "student" and index < 2 else escape(text)


def _words(text: str) -> str:
    """Escape a sentence; `code` becomes typewriter type."""
    parts = re.split(r"`([^`]*)`", text)
    return "".join(rf"\texttt{{{escape(part)}}}" if index % 2 else escape(part) for index, part in enumerate(parts))
