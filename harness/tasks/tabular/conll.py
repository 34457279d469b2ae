"""CoNLL files: a word and its tags on each line, and a blank line between sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from harness.api.errors import UserError
from harness.tasks.tabular.table import Table
from harness.tasks.tabular.tag_schemes import invalid_tag

DOCUMENT = "-DOCSTART-"
"""First word of a line that starts a document; it is no sentence."""

COMMENT = "# "
"""Start of a comment, and of a row whose word is ``#``."""

LINE_END = re.compile(r"\r{0,2}\n|\r")
r"""``\n``, ``\r\n``, ``\r``, or ``\r\n`` that was converted twice. Other separators of lines may be words."""


class _Line(NamedTuple):
    """A line of a file: its number, from 1, the character between its cells, and its cells; none if it is blank."""

    number: int
    separator: str
    cells: Sequence[str]


def read_conll(text: str, tokens: str, tags: str, where: str) -> Table:
    """Read sentences into the columns `tokens` and `tags`, lists of strings.

    Columns of a line are separated by tabs or, in a line without tabs, by blanks. A column is named by its number, from
    0, by ``first`` or by ``last``; any other name of `tokens` means the first column, and of `tags` the last one.

    A line that starts with ``# `` before the first word of a sentence is a comment, as in CoNLL-U, unless it can be a
    row: it has a tag, and the separator and as many columns as the first row of the file. So the ``#`` of a text, such
    as ``# O``, is a word.

    Raises:
        UserError: a line has no such column, or only one, or the file has no sentence.
    """
    word_column, tag_column = _number(tokens, 0), _number(tags, -1)
    words: list[list[str]] = []
    classes: list[list[str]] = []
    starts: list[int] = []
    for sentence in _sentences(text, tag_column):
        rows = [_row(line, word_column, tag_column, where) for line in sentence]
        words.append([word for word, _ in rows])
        classes.append([tag for _, tag in rows])
        starts.append(sentence[0].number)
    if not words:
        raise UserError(f"{where}: the file has no sentence, expected a word and its tag on each line")
    return Table(where, {tokens: words, tags: classes}, starts)


def _sentences(text: str, tag_column: int) -> Iterator[Sequence[_Line]]:
    """Yield the rows of each sentence, without comments and starts of documents."""
    lines = [_line(number, line) for number, line in enumerate(LINE_END.split(text), start=1)]
    first = next((line for line in lines if line.cells and line.cells[0] != DOCUMENT and not _is_marked(line)), None)
    sentence: list[_Line] = []
    for line in chain(lines, [_Line(0, " ", ())]):
        if not line.cells or line.cells[0] == DOCUMENT:
            if sentence:
                yield sentence
            sentence = []
        elif sentence or not _is_comment(line, first, tag_column):
            sentence.append(line)


def _line(number: int, line: str) -> _Line:
    """Split a line at tabs or blanks alone: other white space, such as a no-break space, may be a word."""
    separator = "\t" if "\t" in line.strip(" \t") else " "
    cells = [cell for part in line.split(separator) if (cell := part.strip(" \t"))]
    return _Line(number, separator, cells if line.strip() else ())


def _is_marked(line: _Line) -> bool:
    return (line.cells[0] + line.separator).startswith(COMMENT)


def _is_comment(line: _Line, first: _Line | None, tag_column: int) -> bool:
    """Whether a line before the first word of a sentence is a comment. `first`: the first row of the file."""
    if not _is_marked(line):
        return False
    alike = first is None or (line.separator, len(line.cells)) == (first.separator, len(first.cells))
    tag = line.cells[tag_column] if tag_column < len(line.cells) else ""
    return not alike or len(line.cells) < 2 or invalid_tag(tag)


def _row(line: _Line, word_column: int, tag_column: int, where: str) -> tuple[str, str]:
    """Return the word and the tag of a line."""
    found = len(line.cells)
    column = max(word_column, tag_column)
    if found < 2:
        message = f"found one column, {line.cells[0]!r}, expected a word and its tag"
    elif column >= found:
        message = f"found {found} columns, expected one with number {column} (from 0)"
    else:
        return line.cells[word_column], line.cells[tag_column]
    raise UserError(f"{where}, line {line.number}: {message}")


def _number(column: str, default: int) -> int:
    named = {"first": 0, "last": -1}
    return int(column) if column.isdecimal() else named.get(column, default)
