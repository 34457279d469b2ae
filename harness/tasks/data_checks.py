"""Validation of a task's examples: columns, types, nulls, ids, labels and answers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from harness.api.errors import Problem, UserError, nearest
from harness.tasks.features import SENTENCES
from harness.tasks.qa_answers import short_repr

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

    from harness.api.batch import TaskKind
    from harness.api.task import Splits, Task

MAX_LISTED_IDS = 5
"""Maximum number of ids in a message."""

REMEDY = "correct or remove these rows"


@dataclass(frozen=True)
class Columns:
    """The columns that a task's examples must have, and their allowed values.

    Attributes:
        kind: kind of the task, which determines the columns.
        classes: number of classes of a kind with classes; labels are 0 to classes - 1.
        label_range: regression: minimum and maximum label; None: any finite number.
        paired: whether there is a column ``text_pair``; not for token classification and QA.
        unanswerable: QA: whether a question may have no answers.
        names: column name in `harness.api.task.Splits` -> name in the data set's files, where they differ.
    """

    kind: TaskKind
    classes: int = 0
    label_range: tuple[float, float] | None = None
    paired: bool = False
    unanswerable: bool = False
    names: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, task: Task) -> Columns:
        return cls(task.kind, len(task.labels), task.label_range, task.paired, task.unanswerable)

    @property
    def texts(self) -> tuple[str, ...]:
        """Names of the text columns."""
        if self.kind in SENTENCES:
            return SENTENCES[self.kind]
        return ("text", "text_pair") if self.paired else ("text",)

    @property
    def target(self) -> str:
        """Name of the column with the labels."""
        return {"qa": "answers", "token_classification": "tags"}.get(self.kind, "label")


@dataclass(frozen=True)
class Fault:
    """Invalid values of one column.

    Attributes:
        rows: rows with such values; empty: the column as a whole is invalid.
        found: the value of the first of these rows.
        expected: the allowed values.
    """

    rows: Sequence[int]
    found: str
    expected: str

    def problem(self, where: str, column: str, ids: Sequence[str | None]) -> Problem:
        """Return the problem to report. `where` names data set and split; `ids` has the ids of all rows."""
        place, count = "", ""
        if self.rows:
            row, listed = self.rows[0], [ids[row] for row in self.rows[: MAX_LISTED_IDS + 1]]
            place = f", row {row}" + ("" if listed[0] is None else f" (id {listed[0]!r})")
            more = ["..."] * (len(listed) > MAX_LISTED_IDS)
            others = ", ".join([repr(id) for id in listed[1:MAX_LISTED_IDS] if id is not None] + more)
            count = f" ({len(self.rows)} of {len(ids)} rows{f', also {others}' if others else ''})"
        return Problem(
            f"{where}, column {column!r}{place}: found {self.found}, expected {self.expected}{count}; {REMEDY}"
        )


def refuse_invalid(task: Task, splits: Splits) -> None:
    """Raise `UserError` with all problems in the splits of a task."""
    columns, problems = Columns.of(task), []
    for name, rows in {"train": splits.train, **splits.validation}.items():
        where = f"task {task.name!r}, split {name!r}"
        problems += problems_of(columns, rows, where, may_hide=rows is not splits.train)
    if problems:
        raise UserError(*problems)


def refuse_invalid_split(
    columns: Columns, rows: Dataset, where: str, *, may_hide: bool = False, answers: bool = True
) -> None:
    """Raise `UserError` with all problems in one split. For the loaders of tasks; arguments as of `problems_of`."""
    if problems := problems_of(columns, rows, where, may_hide=may_hide, answers=answers):
        raise UserError(*problems)


def problems_of(
    columns: Columns, rows: Dataset, where: str, *, may_hide: bool = False, answers: bool = True
) -> list[Problem]:
    """Return the problems in the columns of a split.

    Args:
        columns: the columns to check for.
        rows: the split.
        where: data set and split, for the messages.
        may_hide: whether all class labels may be -1, which means that the labels are hidden.
        answers: QA: whether to check the answers too.
    """
    if not len(rows):
        return [Problem(f"{where}: the split has no examples")]
    names = ("id", *columns.texts, columns.target)
    if missing := [name for name in names if name not in rows.column_names]:
        clauses = (f"there is no column {name!r}; {nearest(name, rows.column_names)}" for name in missing)
        return [Problem(f"{where}: {clause}") for clause in clauses]
    table = rows.select_columns([name for name in names if answers or name != "answers"]).with_format("arrow")[:]
    ids = table.column("id").to_pylist()

    faults = [("id", fault) for fault in _id_faults(table.column("id"))]
    check_texts = _word_faults if columns.kind == "token_classification" else _text_faults
    faults += [(name, fault) for name in columns.texts for fault in check_texts(table.column(name))]
    if columns.kind == "multilabel":
        faults += [("label", fault) for fault in _class_list_faults(columns, table.column("label"), may_hide)]
    elif columns.kind == "token_classification":
        if not faults:  # the check needs valid words
            words = table.column("tokens").to_pylist()
            faults += [("tags", fault) for fault in _tag_faults(columns, table.column("tags"), words, may_hide)]
    elif columns.kind != "qa":
        faults += [("label", fault) for fault in _label_faults(columns, table.column("label"), may_hide)]
    elif answers and not faults:  # the check needs valid contexts
        contexts = table.column("context").to_pylist()
        faults += [("answers", fault) for fault in _answer_faults(columns, table.column("answers"), contexts)]
    no_ids = [None] * len(ids)
    return [
        fault.problem(where, columns.names.get(name, name), no_ids if name == "id" else ids) for name, fault in faults
    ]


def _id_faults(column: pa.ChunkedArray) -> Iterator[Fault]:
    wrong = list(_text_faults(column))
    yield from wrong
    ids = column.to_pylist()
    counts = Counter() if wrong else Counter(ids)
    if len(counts) < len(ids) and counts:
        id, count = counts.most_common(1)[0]
        rows = [row for row, value in enumerate(ids) if value == id]
        duplicates = len(ids) - len(counts)
        yield Fault(rows, f"the duplicate id {id!r} in {count} rows", f"unique ids ({duplicates} duplicates in all)")


def _text_faults(column: pa.ChunkedArray) -> Iterator[Fault]:
    import pyarrow.types as types

    yield from _nulls(column, "text")
    if not (types.is_string(column.type) or types.is_large_string(column.type) or types.is_null(column.type)):
        yield _wrong_type(column, "text")


def _label_faults(columns: Columns, column: pa.ChunkedArray, may_hide: bool) -> Iterator[Fault]:
    import numpy as np
    import pyarrow.types as types

    classes = columns.kind == "classification"
    low, high = (0, columns.classes - 1) if classes else columns.label_range or (-math.inf, math.inf)
    expected = f"a class from 0 to {high}" if classes else "a finite number"
    if not classes and columns.label_range:
        expected += f" from {low:g} to {high:g}"
    yield from _nulls(column, expected)
    if types.is_null(column.type):
        return
    if not (types.is_integer(column.type) or types.is_floating(column.type)):
        yield _wrong_type(column, expected)
        return
    valid = ~column.is_null().to_numpy()
    values = np.where(valid, column.fill_null(0).to_numpy(), 0).astype(float)
    if valid.all() and (values == -1).all():
        if not (classes and may_hide):
            yield Fault(range(len(values)), "-1 in every row, which means hidden labels", expected)
        return
    wrong = valid & ~(np.isfinite(values) & (values >= low) & (values <= high))
    if classes:
        wrong |= valid & (values != np.round(values))
    if wrong.any():
        rows = np.flatnonzero(wrong).tolist()
        hint = " (hidden labels are -1 in every row)" if classes and may_hide else ""
        yield Fault(rows, _short(values[rows[0]]), expected + hint)


def _word_faults(column: pa.ChunkedArray) -> Iterator[Fault]:
    expected = "a list of words"
    yield from _nulls(column, expected)
    lists = column.to_pylist()
    if wrong := [row for row, words in enumerate(lists) if words is not None and not _is_list_of(str, words)]:
        yield Fault(wrong, _short(lists[wrong[0]]), expected)


def _class_list_faults(columns: Columns, column: pa.ChunkedArray, may_hide: bool) -> Iterator[Fault]:
    expected = f"a list of classes from 0 to {columns.classes - 1}, ascending and without duplicates"
    yield from _nulls(column, expected)
    labels = column.to_pylist()
    if all(label == [-1] for label in labels):
        if not may_hide:
            yield Fault(range(len(labels)), "[-1] in every row, which means hidden labels", expected)
        return

    def valid(label: Any) -> bool:
        ordered = _is_list_of(int, label) and all(low < high for low, high in pairwise(label))
        return ordered and all(0 <= index < columns.classes for index in label)

    if wrong := [row for row, label in enumerate(labels) if label is not None and not valid(label)]:
        hint = " (hidden labels are [-1] in every row)" if may_hide else ""
        yield Fault(wrong, _short(labels[wrong[0]]), expected + hint)


def _tag_faults(
    columns: Columns, column: pa.ChunkedArray, words: Sequence[Sequence[str]], may_hide: bool
) -> Iterator[Fault]:
    expected = f"a list with one class from 0 to {columns.classes - 1} for each word"
    yield from _nulls(column, expected)
    rows = column.to_pylist()
    lists = [row if _is_list_of(int, row) else None for row in rows]
    hidden = any(lists) and all(tag == -1 for row in lists for tag in row or ())
    if hidden and not may_hide:
        yield Fault(range(len(rows)), "-1 at every word, which means hidden tags", expected)
    lowest = -1 if hidden else 0
    wrong = {}
    for row, (tags, sentence) in enumerate(zip(lists, words, strict=True)):
        if tags is None:
            if rows[row] is not None:
                wrong[row] = _short(rows[row])
        elif len(tags) != len(sentence):
            wrong[row] = f"{len(tags)} tags for {len(sentence)} words"
        elif outside := [tag for tag in tags if not lowest <= tag < columns.classes]:
            wrong[row] = f"the tag {outside[0]}"
    if wrong:
        hint = " (hidden tags are -1 at every word)" if may_hide else ""
        yield Fault(list(wrong), next(iter(wrong.values())), expected + hint)


def _is_list_of(type: type, values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(v, type) and not isinstance(v, bool) for v in values)


def _answer_faults(columns: Columns, column: pa.ChunkedArray, contexts: Sequence[str]) -> Iterator[Fault]:
    expected = "a list of {text, start} with context[start:start + len(text)] == text"
    answers = column.to_pylist()
    yield from _nulls(column, expected)
    faults = {row: fault for row, answer in enumerate(answers) if (fault := _answer_fault(answer, contexts[row]))}
    if faults:
        yield Fault(list(faults), next(iter(faults.values())), expected)
    if not columns.unanswerable and (empty := [row for row, answer in enumerate(answers) if answer == []]):
        yield Fault(
            empty, "no answer", "an answer to each question (only `unanswerable` tasks, as squad_v2, allow none)"
        )


def _answer_fault(answers: Any, context: str) -> str | None:
    """Return what is wrong with the answers to one question. Null and empty lists are checked by the caller."""
    if answers is None:
        return None
    if not isinstance(answers, list):
        return _short(answers)
    for answer in answers:
        text, start = (answer.get("text"), answer.get("start")) if isinstance(answer, dict) else (None, None)
        if not isinstance(text, str) or not isinstance(start, int) or not text:
            return _short(answer)
        if start < 0 or context[start : start + len(text)] != text:
            return f"{_short(text)} at {start}, where the context has {_short(context[max(start, 0) :][: len(text)])}"
    return None


def _nulls(column: pa.ChunkedArray, expected: str) -> Iterator[Fault]:
    if column.null_count:
        yield Fault(column.is_null().to_numpy().nonzero()[0].tolist(), "null", expected)


def _wrong_type(column: pa.ChunkedArray, expected: str) -> Fault:
    value = next((value for value in column.to_pylist() if value is not None), None)
    return Fault((), f"values of type {str(column.type).replace('large_', '')}, such as {_short(value)}", expected)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else short_repr(value)
