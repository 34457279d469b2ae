"""Matches the labels of the data with the classes of the teacher."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from harness.api.errors import Problem, UserError, nearest
from harness.tasks.qa_answers import short_repr
from harness.tasks.tabular.cell_values import InvalidCellError, label_texts
from harness.tasks.tabular.class_names import value_text

MOST_LISTED = 8
"""Labels and classes that a message lists."""

NO_EXAMPLES = " (no examples)"
"""Follows the name of a class without examples where the name alone is a value of another class."""


def label_values(cells: Sequence[Any], kind: str, separator: str | None) -> list[Any] | None:
    """The labels in a column. Multilabel: those of all cells; None if one is invalid, which the checks of data report.

    Args:
        cells: the label column.
        kind: kind of the task.
        separator: multilabel: text between the labels of a cell; None: the cell is a list.
    """
    if kind != "multilabel":
        return list(cells)
    try:
        return [value for texts in map(label_texts(separator), cells) for value in texts]
    except InvalidCellError:
        return None


def distinct(values: Sequence[Any]) -> list[str]:
    """The sorted labels among the values; empty values are none."""
    return sorted({value_text(value) for value in values} - {""})


def match(
    values: Sequence[Any], given: Mapping[str, str], classes: Sequence[str], column: str, *, fewest: int = 2
) -> dict[str, str] | None:
    """Return the `labels` of the task: value of the label column -> name of the teacher's class.

    Values match names whatever their case. Otherwise, if all are class numbers, from 0 to that of the last class, the
    numbers decide. Without these two they may be anything: 1 to 4 stars, or 0 and 1 for a teacher with a third class.
    Classes of the teacher that the data lack are listed, too, since its head has them. They are in the order of the
    teacher.

    Args:
        values: the labels of the examples.
        given: value -> name of a class, as the user says.
        classes: names of the teacher's classes; empty: there is nothing to match, and None is returned.
        column: name of the label column, for messages.
        fewest: number of classes that the examples must have.

    Raises:
        UserError: a value cannot be matched, a name is no class of the teacher, or the examples have too few classes.
    """
    values = distinct(values)
    if not classes:
        if given:
            raise UserError(Problem("the teacher has no classes; the classes are the labels of the data", "--class"))
        return None
    by_name = {name.lower(): name for name in classes}
    numbers = {str(number): name for number, name in enumerate(classes)}
    if given:
        matched = _given(values, given, by_name, column)
    elif all(value.lower() in by_name for value in values):
        matched = {value: by_name[value.lower()] for value in values}
    elif {"0", str(len(classes) - 1)} <= {*values} <= numbers.keys():
        matched = {value: numbers[value] for value in values}
    else:
        raise _unmatched(values, classes, column)
    if len({matched[value] for value in values}) < fewest:
        found = f"all examples have the class {matched[values[0]]}" if values else "no example has a label"
        needed = "examples of two classes" if fewest > 1 else "examples with labels"
        raise UserError(Problem(f"column {column!r}: {found}; a classifier needs {needed}", "--label"))
    return dict(sorted(_with_absent(matched, classes).items(), key=lambda item: classes.index(item[1])))


def _with_absent(matched: Mapping[str, str], classes: Sequence[str]) -> dict[str, str]:
    """Add the classes without examples. Their value is their name, unless that is a value of another class."""
    labels = dict(matched)
    for name in classes:
        if name not in matched.values():
            value = name
            while value_text(value) in map(value_text, labels):
                value += NO_EXAMPLES
            labels[value] = name
    return labels


def _given(values: Sequence[str], given: Mapping[str, str], by_name: Mapping[str, str], column: str) -> dict[str, str]:
    unknown = [name for name in given.values() if name.lower() not in by_name]
    if unknown:
        names = by_name.values()
        raise UserError(Problem(f"the teacher has no class {unknown[0]!r}; {nearest(unknown[0], names)}", "--class"))
    missing = [value for value in values if value not in given]
    if missing:
        raise UserError(
            Problem(
                f"column {column!r} has other labels, too: {_listed(missing)}; add {_options(missing)}, or remove these"
                " rows",
                "--class",
            )
        )
    return {value: by_name[name.lower()] for value, name in given.items()}


def _unmatched(values: Sequence[str], classes: Sequence[str], column: str) -> UserError:
    return UserError(
        Problem(
            f"the labels in column {column!r} are {_listed(values)}, the teacher's classes {_listed(classes)}; say"
            f" which class each label is: {_options(values)}; or name another column: --label NAME",
            "--class",
        )
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join([name if len(name) <= 40 else short_repr(name) for name in names[:MOST_LISTED]] + _more(names))


def _options(values: Sequence[str]) -> str:
    """What to type: ``--class 4=NAME --class 5=NAME``."""
    if any(len(value) > 40 for value in values[:MOST_LISTED]):
        return "--class VALUE=NAME"
    return " ".join([f"--class {shlex.quote(value)}=NAME" for value in values[:MOST_LISTED]] + _more(values))


def _more(names: Sequence[str]) -> list[str]:
    return ["..."] if len(names) > MOST_LISTED else []
