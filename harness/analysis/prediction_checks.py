"""Checks the columns of predictions.parquet: their types, and values that no scored run has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc

from harness.api.wording import counted
from harness.storage.plan_file import PlannedTask

SCORES = "scores"

HIDDEN_TAG = ""
"""The label of a word whose tag is hidden."""

MAX_CLASSES = 1000
"""Upper bound of the number of classes of a task whose plan does not name them."""

Check = Callable[[pa.Array, PlannedTask], str | None]


def fault(table: pa.Table, task: PlannedTask) -> str | None:
    """Return what is wrong with the predictions of a run on `task`; None if nothing is. Columns may be left out."""
    if not table.num_rows:
        return "it has no rows"
    return next(chain(_column_faults(table, task), _row_faults(table, task)), None)


def _column_faults(table: pa.Table, task: PlannedTask) -> Iterator[str]:
    checks = _CHECKS[task.kind]
    for name in table.column_names:
        column = table[name].combine_chunks()
        if column.null_count:
            yield f"column {name!r} has no value in {counted(column.null_count, 'row')}"
        elif found := checks.get(name, _text)(column, task):
            yield f"column {name!r} {found}"


def _row_faults(table: pa.Table, task: PlannedTask) -> Iterator[str]:
    if task.kind == "token_classification" and "label" in table.column_names and _lengths_differ(table):
        yield "column 'prediction' has other numbers of tags than column 'label'"
    if "id" not in table.column_names:
        return
    if pc.count_distinct(table["id"]).as_py() < table.num_rows:  # an id may occur in several splits
        rows = table.select(["split", "id"]).group_by(["split", "id"], use_threads=False).aggregate([])
        if rows.num_rows < table.num_rows:
            yield "column 'id' has duplicate ids in one split"


def _lengths_differ(table: pa.Table) -> bool:
    lengths = [pc.list_value_length(table[name]) for name in ("prediction", "label")]
    return not pc.all(pc.equal(*lengths)).as_py()


def _text(column: pa.Array, task: PlannedTask) -> str | None:
    return None if _is_text(column.type) else _unexpected(column, "text")


def _class(column: pa.Array, task: PlannedTask) -> str | None:
    if not pa.types.is_integer(column.type):
        return _unexpected(column, "class numbers")
    bounds = pc.min_max(column).as_py()
    largest = max(len(task.labels), 2) - 1 if task.labels else MAX_CLASSES - 1
    outside = [value for value in bounds.values() if not -1 <= value <= largest]  # -1: the label is hidden
    return f"has class {outside[0]}, expected 0 to {largest}" if outside else None


def _classes(column: pa.Array, task: PlannedTask) -> str | None:
    if not _is_list(column.type):
        return _unexpected(column, "lists of class numbers")
    values = pc.list_flatten(column)
    if not len(values):
        return None
    if values.null_count or not pa.types.is_integer(values.type):
        return _unexpected(column, "lists of class numbers")
    outside = [value for value in pc.min_max(values).as_py().values() if not -1 <= value < len(task.labels)]
    return f"has class {outside[0]}, expected 0 to {len(task.labels) - 1}" if outside else None


def _tags(column: pa.Array, task: PlannedTask) -> str | None:
    if found := _texts(column, task):
        return found
    unknown = set(pc.unique(pc.list_flatten(column)).to_pylist()) - {*task.labels, HIDDEN_TAG}
    return f"has the tag {min(unknown)!r}, which is none of the task's" if unknown else None


def _probabilities(column: pa.Array, task: PlannedTask) -> str | None:
    if not _is_list(column.type):
        return _unexpected(column, "lists of numbers")
    values = pc.list_flatten(column)
    if not len(values):
        return None
    if not pa.types.is_floating(values.type):
        return _unexpected(column, "lists of numbers")
    return None if not values.null_count and pc.all(pc.is_finite(values)).as_py() else "has values that are not finite"


def _number(column: pa.Array, task: PlannedTask) -> str | None:
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return _unexpected(column, "numbers")
    return None if pc.all(pc.is_finite(column)).as_py() else "has values that are not finite"


def _texts(column: pa.Array, task: PlannedTask) -> str | None:
    if not _is_list(column.type):
        return _unexpected(column, "lists of texts")
    texts = pc.list_flatten(column)
    # Without any text, the type of the elements is not known.
    return (
        None if (_is_text(texts.type) and not texts.null_count) or not len(texts) else "has a list with no text in it"
    )


def _outputs(column: pa.Array, task: PlannedTask) -> str | None:
    """Check the model outputs of each example: one for each class, or those of the best span and of no answer."""
    if not _is_list(column.type) or not pa.types.is_floating(column.type.value_type):
        return _unexpected(column, "lists of numbers")
    values, lengths = pc.list_flatten(column), pc.min_max(pc.list_value_length(column)).as_py()
    if lengths["min"] != lengths["max"] or lengths["min"] < _OUTPUTS[task.kind]:
        return f"has lists of {lengths['min']} to {lengths['max']} numbers"
    return None if not values.null_count and pc.all(pc.is_finite(values)).as_py() else "has values that are not finite"


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _unexpected(column: pa.Array, expected: str) -> str:
    return f"is of type {column.type}, expected {expected}"


_OUTPUTS = {"classification": 2, "multilabel": 2, "regression": 1, "qa": 2}
"""Kind of task -> least number of outputs of an example."""

_CHECKS: dict[str, dict[str, Check]] = {
    "classification": {"prediction": _class, "label": _class, SCORES: _outputs},
    "multilabel": {"prediction": _classes, "label": _classes, SCORES: _outputs},
    "regression": {"prediction": _number, "label": _number, SCORES: _outputs},
    "token_classification": {"prediction": _tags, "label": _tags, SCORES: _probabilities},
    "qa": {"prediction": _text, "label": _texts, SCORES: _outputs},
}
"""Kind of task -> column -> its check; other columns are text."""
