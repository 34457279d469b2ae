"""Finds the columns of a table that a model reads."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from harness.api.errors import Problem, UserError, nearest
from harness.prediction.tables import Table

PAIRS = (
    ("text", "text_pair"),
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "context"),
)
"""Usual names of the two texts of a pair, in the order in which a model reads them."""

SINGLE = ("text", "sentence", "review", "content", "tokens", "words")
"""Usual names of a single text."""

Columns = tuple[str, ...]


def find(table: Table, *, text: str | None, text_pair: str | None, paired: bool | None) -> Columns:
    """Return the name of the text column, or of both columns of a pair.

    Without `text`, columns with usual names are taken, or the only column of texts.

    Args:
        text, text_pair: the names that the user gave, if any; an empty `text_pair`: there is none.
        paired: whether the model reads pairs; None: unknown.

    Raises:
        UserError: a column does not exist, or the columns cannot be guessed.
    """
    if paired is None:
        refuse_half_pair(text, text_pair, table.names)
        paired = False if text_pair == "" else None
    given = {
        option: name for option, name in (("--text", text), ("--text-pair", text_pair or None)) if name is not None
    }
    for option, name in given.items():
        if name not in table.names:
            raise UserError(Problem(f"there is no column {name!r}; {nearest(name, table.names)}", option))
    if text is None and text_pair:
        raise UserError(
            Problem("--text-pair is the second text of a pair; name the first one with --text", "--text-pair")
        )
    columns = tuple(given.values()) or _guess(table, paired)
    if paired is not None and len(columns) != 1 + paired:
        reads = (
            "pairs of texts; name both with --text and --text-pair" if paired else "single texts; leave --text-pair out"
        )
        raise UserError(Problem(f"the model reads {reads}", "--text-pair"))
    return columns


def usual_name(names: Iterable[str], usual: Sequence[str]) -> str | None:
    """The name that comes first among the usual ones, whatever its case; None if there is none."""
    found = [name for name in names if name.lower() in usual]
    return min(found, key=lambda name: usual.index(name.lower()), default=None)


def usual_pair(names: Iterable[str]) -> tuple[str, str] | None:
    """The names of the first of `PAIRS` that is complete, whatever their case; None if there is none."""
    found = {name.lower(): name for name in names}
    return next(((found[one], found[other]) for one, other in PAIRS if {one, other} <= found.keys()), None)


def refuse_half_pair(text: str | None, text_pair: str | None, names: Iterable[str]) -> None:
    """Raise `UserError` if `text` is the first of a usual pair among `names`, and nothing is said of the second."""
    if text is None or text_pair is not None:
        return
    found = {name.lower(): name for name in names}
    second = next((found[other] for one, other in PAIRS if one == text.lower() and other in found), None)
    if second is not None:
        raise UserError(
            Problem(
                f"{second!r} looks like the second text of {text!r}: name it, --text-pair {shlex.quote(second)}, or"
                " leave it out: --text-pair ''",
                "--text-pair",
            )
        )


def _guess(table: Table, paired: bool | None) -> Columns:
    if paired is not False and (pair := usual_pair(table.names)):
        return pair
    if not paired:
        usual = usual_name(table.names, SINGLE)
        texts = [usual] if usual else _columns_of_texts(table)
        if len(texts) == 1:
            return (texts[0],)
    listed = ", ".join(table.names)
    options = "--text and --text-pair" if paired else "--text"
    raise UserError(
        Problem(
            f"cannot guess which column holds the text; name it with {options}; columns: {listed}",
            "--text",
        )
    )


def _columns_of_texts(table: Table) -> list[str]:
    """The columns of strings that are no numbers, as far as the first hundred show."""
    return [name for name in table.names if _may_be_texts(table, name)]


def _may_be_texts(table: Table, name: str) -> bool:
    try:
        values = table.column(name)
    except UserError:
        return True  # its values are invalid, which is an error only if the column is used
    return all(value is None or _is_string(value) for value in values) and not all(map(_is_number, values[:100]))


def texts_of(table: Table, name: str, *, words: bool = False) -> Sequence[Any]:
    """The texts of a column: strings or, with `words`, strings or lists of strings. Raises `UserError` for others."""
    values = table.column(name)
    is_text = _is_words if words and any(isinstance(value, list) for value in values) else _is_string
    wrong = [row for row, value in enumerate(values, start=1) if not is_text(value)]
    if wrong:
        value = values[wrong[0] - 1]
        found = "is missing" if value is None else f"is {value!r}, expected a text"
        count = f" ({len(wrong)} rows are like that)" if len(wrong) > 1 else ""
        raise UserError(Problem(f"the value of row {wrong[0]} {found}{count}", f"column {name!r}"))
    return values


def _is_string(value: object) -> bool:
    return isinstance(value, str)


def _is_words(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_string, value))


def _is_number(value: str | None) -> bool:
    try:
        float(value or "0")
    except ValueError:
        return False
    return True
