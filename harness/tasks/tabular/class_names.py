"""Classes of a declared task: the values of its label column, their names and their order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.api.errors import Problem, UserError
from harness.config.task_schema import MAX_CLASSES, LabelValue
from harness.tasks.qa_answers import short_repr

FEWEST_CLASSES = 2
"""Smallest number of classes of a task."""

_WHOLE = re.compile(r"([-+]?\d+)\.0+")
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)")


def is_missing(value: Any) -> bool:
    """Whether a cell is empty: null, an empty text, or NaN, which tables of numbers have for null."""
    return value is None or value == "" or bool(value != value)


def value_text(value: Any) -> str:
    """Return a label value as text, the same for equal values of all file formats and of YAML.

    5, 5.0 and "5.0" are ``5``; true, "True" and "TRUE" are ``true``; white space around a text does not count. A
    missing value (null, NaN, an empty text) is the empty text.
    """
    if is_missing(value):
        return ""
    text = str(value).strip()
    if text.lower() in ("true", "false"):
        return text.lower()
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


@dataclass(frozen=True)
class ClassNames:
    """The classes of a task.

    Attributes:
        names: the name of each class, in their order.
        index: value of the label column -> number of its class.
        sorted_values: whether they are the sorted values of the training examples, since the suite gives none.
    """

    names: tuple[str, ...]
    index: Mapping[str, int]
    sorted_values: bool = False

    @property
    def expected(self) -> str:
        """The allowed values, for messages."""
        values = list(self.index)
        return f"one of {', '.join(values[:10])}{', ...' if len(values) > 10 else ''}"


def declared_classes(labels: Sequence[LabelValue] | Mapping[str, str]) -> ClassNames:
    """Return the classes that a declaration lists. Several values may have the same name, so they are one class.

    Raises:
        UserError: a value occurs twice, a name is empty, or there are too few or too many classes.
    """
    pairs = labels.items() if isinstance(labels, Mapping) else [(value, value_text(value)) for value in labels]
    numbers: dict[str, int] = {}
    index: dict[str, int] = {}
    for value, name in pairs:
        text = value_text(value)
        if text in index:
            raise UserError(Problem(f"duplicate value {text!r}", "labels"))
        if not text or not name.strip():
            raise UserError(
                Problem("found an empty value, expected values of the label column and their names", "labels")
            )
        index[text] = numbers.setdefault(name.strip(), len(numbers))
    _check_count(numbers, None)
    return ClassNames(tuple(numbers), index)


def sorted_classes(values: Iterable[str], where: str) -> ClassNames:
    """Return one class for each value of the training examples, in numeric order if all are numbers, else sorted.

    `values` are the results of `value_text`; empty ones are ignored.

    Raises:
        UserError: there are too few or too many values.
    """
    found = set(values) - {""}
    names = (
        sorted(found, key=lambda value: (float(value), value)) if _are_numbers(found) else sorted(found)
    )  # "1" and "01" are equal
    _check_count(names, where)
    return ClassNames(tuple(names), {name: number for number, name in enumerate(names)}, sorted_values=True)


def _are_numbers(values: Iterable[str]) -> bool:
    return all(map(_NUMBER.fullmatch, values))


def _check_count(names: Iterable[str], where: str | None) -> None:
    """Check the number of classes; `where` is the column, None for the declaration's `labels`."""
    names = list(names)
    if FEWEST_CLASSES <= len(names) <= MAX_CLASSES:
        return
    shown = ", ".join(short_repr(name) for name in names[:5])
    hint = "; is this the column of the labels?" if len(names) > MAX_CLASSES else ""
    hint += " for numbers, use `kind: regression`" if hint and _are_numbers(names) else ""
    message = f"found {len(names)} classes ({shown}), expected {FEWEST_CLASSES} to {MAX_CLASSES}{hint}"
    raise UserError(Problem(f"{where} {message}") if where else Problem(message, "labels"))
