"""Finds invalid values in the labels of a data set: classes, numbers, lists of classes, tags, answers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from harness.tasks.column_faults import Fault, is_list_of, nulls, short, wrong_type

if TYPE_CHECKING:
    import pyarrow as pa


def class_faults(column: pa.ChunkedArray, classes: int, *, may_hide: bool) -> Iterator[Fault]:
    """Yield faults of class labels. With `may_hide`, -1 in every row means hidden labels."""
    expected = f"a class from 0 to {classes - 1}"
    yield from _number_faults(column, (0, classes - 1), expected, whole=True, may_hide=may_hide)


def number_faults(column: pa.ChunkedArray, label_range: tuple[float, float] | None) -> Iterator[Fault]:
    """Yield faults of the labels of a regression, in `label_range` (None: any finite number)."""
    expected = "a finite number" + (f" from {label_range[0]:g} to {label_range[1]:g}" if label_range else "")
    yield from _number_faults(column, label_range or (-math.inf, math.inf), expected, whole=False, may_hide=False)


def _number_faults(
    column: pa.ChunkedArray, label_range: tuple[float, float], expected: str, *, whole: bool, may_hide: bool
) -> Iterator[Fault]:
    import numpy as np
    import pyarrow.types as types

    yield from nulls(column, expected)
    if types.is_null(column.type):
        return
    if not (types.is_integer(column.type) or types.is_floating(column.type)):
        yield wrong_type(column, expected)
        return
    low, high = label_range
    valid = ~column.is_null().to_numpy()
    values = np.where(valid, column.fill_null(0).to_numpy(), 0).astype(float)
    if valid.all() and (values == -1).all():
        if not may_hide:
            yield Fault(range(len(values)), "-1 in every row, which means hidden labels", expected)
        return
    wrong = valid & ~(np.isfinite(values) & (values >= low) & (values <= high))
    if whole:
        wrong |= valid & (values != np.round(values))
    if wrong.any():
        rows = np.flatnonzero(wrong).tolist()
        hint = " (hidden labels are -1 in every row)" if may_hide else ""
        yield Fault(rows, short(values[rows[0]]), expected + hint)


def class_list_faults(column: pa.ChunkedArray, classes: int, *, may_hide: bool) -> Iterator[Fault]:
    """Yield faults of lists of classes. With `may_hide`, [-1] in every row means hidden labels."""
    expected = f"a list of classes from 0 to {classes - 1}, ascending and without duplicates"
    yield from nulls(column, expected)
    labels = column.to_pylist()
    if all(label == [-1] for label in labels):
        if not may_hide:
            yield Fault(range(len(labels)), "[-1] in every row, which means hidden labels", expected)
        return

    def valid(label: Any) -> bool:
        ordered = is_list_of(int, label) and all(low < high for low, high in pairwise(label))
        return ordered and all(0 <= index < classes for index in label)

    if wrong := [row for row, label in enumerate(labels) if label is not None and not valid(label)]:
        hint = " (hidden labels are [-1] in every row)" if may_hide else ""
        yield Fault(wrong, short(labels[wrong[0]]), expected + hint)


def tag_faults(
    column: pa.ChunkedArray, classes: int, words: Sequence[Sequence[str]], *, may_hide: bool
) -> Iterator[Fault]:
    """Yield faults of the tags of `words`. With `may_hide`, -1 at every word of all rows means hidden tags."""
    expected = f"a list with one class from 0 to {classes - 1} for each word"
    yield from nulls(column, expected)
    rows = column.to_pylist()
    lists = [row if is_list_of(int, row) else None for row in rows]
    hidden = any(lists) and all(tag == -1 for row in lists for tag in row or ())
    if hidden and not may_hide:
        yield Fault(range(len(rows)), "-1 at every word, which means hidden tags", expected)
    lowest = -1 if hidden else 0
    wrong = {}
    for row, (tags, sentence) in enumerate(zip(lists, words, strict=True)):
        if tags is None:
            if rows[row] is not None:
                wrong[row] = short(rows[row])
        elif len(tags) != len(sentence):
            wrong[row] = f"{len(tags)} tags for {len(sentence)} words"
        elif outside := [tag for tag in tags if not lowest <= tag < classes]:
            wrong[row] = f"the tag {outside[0]}"
    if wrong:
        hint = " (hidden tags are -1 at every word)" if may_hide else ""
        yield Fault(list(wrong), next(iter(wrong.values())), expected + hint)


def answer_faults(column: pa.ChunkedArray, contexts: Sequence[str], *, unanswerable: bool) -> Iterator[Fault]:
    """Yield faults of the answers to questions on `contexts`. `unanswerable`: whether a question may have none."""
    expected = "a list of {text, start} with context[start:start + len(text)] == text"
    answers = column.to_pylist()
    yield from nulls(column, expected)
    faults = {row: fault for row, answer in enumerate(answers) if (fault := _answer_fault(answer, contexts[row]))}
    if faults:
        yield Fault(list(faults), next(iter(faults.values())), expected)
    if not unanswerable and (empty := [row for row, answer in enumerate(answers) if answer == []]):
        yield Fault(
            empty, "no answer", "an answer to each question (only `unanswerable` tasks, as squad_v2, allow none)"
        )


def _answer_fault(answers: Any, context: str) -> str | None:
    """Return what is wrong with the answers to one question. Null and empty lists are checked by the caller."""
    if answers is None:
        return None
    if not isinstance(answers, list):
        return short(answers)
    for answer in answers:
        text, start = (answer.get("text"), answer.get("start")) if isinstance(answer, dict) else (None, None)
        if not isinstance(text, str) or not isinstance(start, int) or not text:
            return short(answer)
        if start < 0 or context[start : start + len(text)] != text:
            return f"{short(text)} at {start}, where the context has {short(context[max(start, 0) :][: len(text)])}"
    return None
