"""CoNLL files: a word and its tags on each line, and a blank line between sentences."""

from __future__ import annotations

from harness.api.errors import UserError
from harness.tasks.tabular.table import Table

DOCUMENT = "-DOCSTART-"
"""First word of a line that starts a document; it is no sentence."""


def read_conll(text: str, tokens: str, tags: str, where: str) -> Table:
    """Read sentences into the columns `tokens` and `tags`, lists of strings.

    Columns of a line are separated by tabs or, in a line without tabs, by blanks. A column is named by its number, from
    0, by ``first`` or by ``last``; any other name of `tokens` means the first column, and of `tags` the last one.
    Lines that start with ``# `` before the first word of a sentence are comments.

    Raises:
        UserError: a line has no such column, or the file has no sentence.
    """
    word_column, tag_column = _number(tokens, 0), _number(tags, -1)
    words: list[list[str]] = []
    classes: list[list[str]] = []
    lines: list[int] = []
    open_sentence = False
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        cells = [cell for cell in line.strip().split("\t" if "\t" in line.strip() else " ") if cell]
        if not any(cells) or cells[0] == DOCUMENT:
            open_sentence = False
            continue
        if not open_sentence and line.startswith("# "):
            continue
        if not open_sentence:
            words.append([])
            classes.append([])
            lines.append(number)
            open_sentence = True
        try:
            words[-1].append(cells[word_column])
            classes[-1].append(cells[tag_column])
        except IndexError:
            column = word_column if word_column >= len(cells) else tag_column
            raise UserError(
                f"{where}, line {number}: found {len(cells)} columns, expected one with number {column} (from 0)"
            ) from None
    if not words:
        raise UserError(f"{where}: the file has no sentence, expected a word and its tag on each line")
    return Table(where, {tokens: words, tags: classes}, lines)


def _number(column: str, default: int) -> int:
    named = {"first": 0, "last": -1}
    return int(column) if column.isdecimal() else named.get(column, default)
