"""Conversion of the cells of a column, with all invalid cells of a file in one message."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.api.errors import Problem
from harness.config.diagnostics import format_value
from harness.tasks.qa_answers import short_repr
from harness.tasks.tabular.class_names import ClassNames, is_missing, value_text
from harness.tasks.tabular.table import Table
from harness.tasks.tabular.tag_schemes import invalid_tag, to_iob2

Parse = Callable[[Any], Any]


class InvalidCellError(Exception):
    """A cell does not have an allowed value."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(found, expected)
        self.found = found
        self.expected = expected


def convert(table: Table, column: str, cells: Sequence[Any], parse: Parse) -> tuple[list[Any], list[Problem]]:
    """Return the parsed cells of a column, None for invalid ones, and one problem for each kind of fault.

    Texts must be encodable: JSON may have half of a surrogate pair, such as ``"\\ud83d"``, which is no character.
    """
    values: list[Any] = []
    faults: dict[str, list[tuple[int, str]]] = {}
    for row, cell in enumerate(cells):
        try:
            value = parse(cell)
            _check_characters(value)
            values.append(value)
        except InvalidCellError as error:
            faults.setdefault(error.expected, []).append((row, error.found))
            values.append(None)
    problems = [
        table.problem(column, [row for row, _ in found], found[0][1], expected) for expected, found in faults.items()
    ]
    return values, problems


def _check_characters(value: Any) -> None:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            found = f"half of a surrogate pair, {value[error.start]!r}"
            raise InvalidCellError(found, "text that can be encoded in UTF-8") from error
    elif isinstance(value, list):
        for item in value:
            _check_characters(item)
    elif isinstance(value, dict):
        _check_characters(list(value.values()))


def text(cell: Any) -> str:
    """Parse a text, which is not blank."""
    if not isinstance(cell, str):
        raise InvalidCellError(_shown(cell), "text")
    if not cell.strip():
        raise InvalidCellError("an empty text", "text")
    return cell


def identifier(cell: Any) -> str:
    """Parse an id: a text or a whole number."""
    value = value_text(cell)
    if isinstance(cell, bool | list | dict) or not value:
        raise InvalidCellError(_shown(cell), "an id")
    return value


def number(lowest: float = -math.inf, highest: float = math.inf) -> Parse:
    """Return the parser of a finite number in that range."""
    expected = "a number" if lowest == -math.inf and highest == math.inf else f"a number from {lowest:g} to {highest:g}"

    def parse(cell: Any) -> float:
        try:
            value = math.nan if isinstance(cell, bool) else float(cell)
        except (TypeError, ValueError, OverflowError):  # overflow: an integer of more than 308 digits
            value = math.nan
        if not (math.isfinite(value) and lowest <= value <= highest):
            raise InvalidCellError(_shown(cell), expected)
        return value

    return parse


def one_class(classes: ClassNames) -> Parse:
    """Return the parser of a label: the number of its class."""

    def parse(cell: Any) -> int:
        value = value_text(cell)
        if isinstance(cell, list | dict) or value not in classes.index:
            raise InvalidCellError(_shown(cell) if value else "no label", classes.expected)
        return classes.index[value]

    return parse


def label_texts(separator: str | None) -> Callable[[Any], list[str]]:
    """Return the parser of a multilabel cell: the texts of its labels, none for an empty cell."""

    def parse(cell: Any) -> list[str]:
        if is_missing(cell):
            return []
        if separator is not None and isinstance(cell, str):
            cell = cell.split(separator)
        elif isinstance(cell, str) and cell.lstrip().startswith("["):
            cell = _json_value(cell)
        if not isinstance(cell, list):
            raise InvalidCellError(_shown(cell), "a list of labels, or a text that `separator` splits")
        return [value for item in cell if (value := value_text(item))]

    return parse


def several_classes(classes: ClassNames, separator: str | None) -> Parse:
    """Return the parser of a multilabel cell: the sorted numbers of its classes."""
    texts_of = label_texts(separator)

    def parse(cell: Any) -> list[int]:
        values = texts_of(cell)
        if unknown := [value for value in values if value not in classes.index]:
            raise InvalidCellError(short_repr(unknown[0]), classes.expected)
        return sorted({classes.index[value] for value in values})

    return parse


def flag(cell: Any) -> bool:
    """Parse a cell of a column for one class: whether the example has it."""
    value = value_text(cell)
    if value not in ("0", "1", "true", "false"):
        raise InvalidCellError(_shown(cell), "0, 1, true or false")
    return value in ("1", "true")


def words(cell: Any) -> list[str]:
    """Parse the words of a sentence: a list of texts, or a text with blanks between them."""
    items = cell.split() if isinstance(cell, str) else cell
    if not isinstance(items, list) or not items or not all(isinstance(item, str) and item.strip() for item in items):
        raise InvalidCellError(_shown(cell), "a list of words, or words with blanks between them")
    return items


def tag_texts(names: Sequence[str] = (), *, iob: bool = True) -> Callable[[Any], list[str]]:
    """Return the parser of the tags of a sentence.

    Args:
        names: of the tags, if the file has their numbers.
        iob: whether the tags mark entities; they are converted to IOB2. Others are taken as they are.
    """

    def parse(cell: Any) -> list[str]:
        items = cell.split() if isinstance(cell, str) else cell
        if not isinstance(items, list):
            raise InvalidCellError(_shown(cell), "a list of tags, or tags with blanks between them")
        tags = [named(item, names) for item in items]
        if not iob:
            return tags
        if invalid := [tag for tag in tags if invalid_tag(tag)]:
            expected = "O, or a tag such as B-PER or I-PER; other tags need `metrics: [token_accuracy]`"
            raise InvalidCellError(short_repr(invalid[0]), expected)
        return to_iob2(tags)

    return parse


def named(value: Any, names: Sequence[str]) -> str:
    """Return a label value as text; of a class number, the name of the class (-1: no label)."""
    if names and isinstance(value, int) and not isinstance(value, bool):
        return names[value] if 0 <= value < len(names) else ""
    return value_text(value)


def answers(cell: Any) -> Any:
    """Return the answers of a cell for `harness.tasks.qa_answers`; a text may be JSON. An empty cell has none."""
    if is_missing(cell) or (isinstance(cell, str) and not cell.strip()):
        return []
    if isinstance(cell, str) and cell.lstrip().startswith(("[", "{")):
        return _json_value(cell)
    return cell


def _json_value(cell: str) -> Any:
    try:
        return json.loads(cell)
    except (json.JSONDecodeError, RecursionError):
        return cell


def _shown(cell: Any) -> str:
    if isinstance(cell, Mapping | list):
        return format_value(cell)
    return "null" if cell is None else "an empty text" if cell == "" else short_repr(cell)
