"""Examples of a declared task, from the tables of its files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from harness.api.errors import Problem, UserError
from harness.config.task_schema import LabelValue, TaskSpec
from harness.metrics import task_metrics
from harness.tasks.qa_answers import InvalidAnswerError, locate_answers
from harness.tasks.squad import EXPECTED
from harness.tasks.tabular import cell_values
from harness.tasks.tabular.cell_values import InvalidCellError, convert
from harness.tasks.tabular.class_names import ClassNames, declared_classes, sorted_classes, value_text
from harness.tasks.tabular.table import Table
from harness.tasks.tabular.tag_schemes import OUTSIDE, invalid_tag, iob2_tags

if TYPE_CHECKING:
    from datasets import Dataset

log = logging.getLogger(__name__)

KINDS_WITH_CLASSES = ("classification", "multilabel", "token_classification")

Columns = dict[str, list[Any]]


def classes_of(spec: TaskSpec, tables: Callable[[], Sequence[Table]]) -> ClassNames | None:
    """Return the classes of a task; None if its kind has none.

    `tables` reads the training files. They are read only if the declaration does not list the labels.

    Raises:
        UserError: the labels are invalid, or the training files cannot be read.
    """
    if spec.kind not in KINDS_WITH_CLASSES:
        return None
    if isinstance(spec.label, list) and spec.labels is None:
        return declared_classes(spec.label)
    if spec.labels is not None:
        return declared_classes(_tags_of(spec))
    read = tables()
    if names := read[0].class_names.get(_label_column(spec)):
        return declared_classes(list(names))
    where = f"{read[0].where}, column {_label_column(spec)!r}:"
    parsed = [_label_values(table, spec) for table in read]
    values = list(chain.from_iterable(texts for texts, _ in parsed))
    if not values and (problems := list(chain.from_iterable(found for _, found in parsed))):
        raise UserError(*problems)
    if spec.kind != "token_classification" or not _is_iob(values):
        return sorted_classes(values, where)
    kinds = sorted({tag.partition("-")[2] for tag in values if tag != OUTSIDE})
    return sorted_tags(kinds, where)


def _tags_of(spec: TaskSpec) -> Sequence[LabelValue] | Mapping[str, str]:
    """Return the labels of the declaration; of types of entities, their tags in IOB2."""
    assert spec.labels is not None
    kinds = [str(label) for label in spec.labels]
    if spec.kind == "token_classification" and _has_entities(spec) and all(map(invalid_tag, kinds)):
        return iob2_tags(kinds)
    return spec.labels


def _has_entities(spec: TaskSpec) -> bool:
    return task_metrics.has_entities(spec.metrics, spec.score)


def _is_iob(tags: Iterable[str]) -> bool:
    """Whether tags mark entities, in any scheme; others, such as parts of speech, are classes as they are."""
    return not any(map(invalid_tag, tags))


def sorted_tags(kinds: Sequence[str], where: str) -> ClassNames:
    """Return the tags of IOB2 for the types of entities that the training examples have."""
    if not kinds:
        raise UserError(f"{where} found no entity, expected tags such as B-PER")
    tags = iob2_tags(kinds)
    return ClassNames(tags, {tag: number for number, tag in enumerate(tags)}, sorted_values=True)


def _label_column(spec: TaskSpec) -> str:
    return spec.tags if spec.kind == "token_classification" else str(spec.label)


def _label_texts(spec: TaskSpec, names: Sequence[str]) -> Callable[[Any], list[str]]:
    """Return the function from a cell of the label column to the texts of its labels."""
    if spec.kind == "token_classification":
        return cell_values.tag_texts(names, iob=_has_entities(spec))
    if spec.kind == "multilabel":
        texts_of = cell_values.label_texts(spec.separator)
        return lambda cell: texts_of(_with_names(cell, names))
    return lambda cell: [cell_values.named(cell, names)]


def _label_values(table: Table, spec: TaskSpec) -> tuple[list[str], list[Problem]]:
    """Return the texts of all labels of a table, and the problems of invalid cells."""
    column = _label_column(spec)
    names = table.class_names.get(column, ())
    cells = table.column(column, "tags" if spec.kind == "token_classification" else "label")
    texts, problems = convert(table, column, cells, _label_texts(spec, names))
    return [text for row in texts for text in row or ()], problems


def _with_names(cell: Any, names: Sequence[str]) -> Any:
    return [cell_values.named(item, names) for item in cell] if names and isinstance(cell, list) else cell


def read_examples(tables: Sequence[Table], spec: TaskSpec, classes: ClassNames | None) -> tuple[Dataset, int]:
    """Return the examples of all tables, with the columns of `harness.api.task.Splits`, and the number of answers whose
    start was corrected.

    The column ``group`` is included if the declaration has one.

    Raises:
        UserError: columns are missing or cells are invalid; it holds the problems of all tables.
    """
    content: Columns = {}
    problems: list[Problem] = []
    rows, repaired = 0, 0
    for table in tables:
        try:
            columns, found, corrected = _columns(table, spec, classes, rows)
        except UserError as error:
            problems += error.problems
            continue
        problems += found
        repaired += corrected
        rows += len(table)
        for name, values in columns.items():
            content.setdefault(name, []).extend(values)
    if not problems:
        problems = list(_duplicate_ids(tables, spec, content["id"]))
    if problems:
        raise UserError(*problems)
    return _dataset(content, spec), repaired


def _columns(
    table: Table, spec: TaskSpec, classes: ClassNames | None, first: int
) -> tuple[Columns, list[Problem], int]:
    """Return the columns of one table, their problems, and the number of corrected answers.

    `first`: the number of its first row among those of all tables.
    """
    columns: Columns = {"id": [str(row) for row in range(first, first + len(table))]}
    problems: list[Problem] = []
    repaired = 0

    def add(name: str, column: str, key: str, parse: cell_values.Parse) -> None:
        columns[name], found = convert(table, column, table.column(column, key), parse)
        problems.extend(found)

    _refuse_missing(table, spec)
    if spec.id is not None:
        add("id", spec.id, "id", cell_values.identifier)
    for name, column in _inputs(spec).items():
        add(name, column, name, cell_values.words if name == "tokens" else cell_values.text)
    if spec.group is not None:
        add("group", spec.group, "group", cell_values.identifier)
    if spec.kind == "qa":
        if not problems:
            columns["answers"], found, repaired = _answers(table, spec, columns["context"])
            problems += found
    elif spec.kind == "token_classification":
        assert classes is not None
        columns["tags"], found = _tags(table, spec, classes, columns["tokens"])
        problems += found
    elif isinstance(spec.label, list):
        assert classes is not None
        columns["label"], found = _flags(table, spec.label, classes)
        problems += found
    else:
        names = table.class_names.get(spec.label, ())
        parse = _label_parser(spec, classes)
        add("label", spec.label, "label", partial(_parse_named, parse=parse, names=_used(names, classes)))
    return columns, problems, repaired


def _inputs(spec: TaskSpec) -> dict[str, str]:
    """Column of `Splits` that a model reads -> column of the files."""
    if spec.kind == "qa":
        return {"question": spec.question, "context": spec.context}
    if spec.kind == "token_classification":
        return {"tokens": spec.tokens}
    return {"text": spec.text, **({"text_pair": spec.text_pair} if spec.text_pair else {})}


def _refuse_missing(table: Table, spec: TaskSpec) -> None:
    """Raise `UserError` with all columns that are missing."""
    needed = [(column, name) for name, column in _inputs(spec).items()]
    if spec.kind == "qa":
        needed.append((spec.answers, "answers"))
    elif spec.kind == "token_classification":
        needed.append((spec.tags, "tags"))
    else:
        needed += [(column, "label") for column in ([spec.label] if isinstance(spec.label, str) else spec.label)]
    problems: list[Problem] = []
    for column, key in needed:
        try:
            table.column(column, key)
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*problems)


def _label_parser(spec: TaskSpec, classes: ClassNames | None) -> cell_values.Parse:
    if classes is None:
        return cell_values.number(*(spec.label_range or ()))
    if spec.kind == "multilabel":
        return cell_values.several_classes(classes, spec.separator)
    return cell_values.one_class(classes)


def _used(names: Sequence[str], classes: ClassNames | None) -> Sequence[str]:
    """Return the names of a file's class numbers, unless the declared labels are the numbers."""
    return names if classes is None or set(classes.index) <= set(map(value_text, names)) else ()


def _parse_named(cell: Any, *, parse: cell_values.Parse, names: Sequence[str]) -> Any:
    if not names:
        return parse(cell)
    return parse(_with_names(cell, names) if isinstance(cell, list) else cell_values.named(cell, names))


def _flags(table: Table, labels: Sequence[str], classes: ClassNames) -> tuple[list[list[int]], list[Problem]]:
    """Return the classes of each example from one column for each class."""
    rows: list[list[int]] = [[] for _ in range(len(table))]
    problems: list[Problem] = []
    for column in labels:
        values, found = convert(table, column, table.column(column, "label"), cell_values.flag)
        problems += found
        if column not in classes.index:
            raise UserError(f"labels: no class for column {column!r}, expected the columns of `label`")
        for row, value in enumerate(values):
            if value:
                rows[row].append(classes.index[column])
    return [sorted(set(row)) for row in rows], problems


def _listed(spec: TaskSpec) -> Sequence[str]:
    """Return the names of tag numbers: the declared tags, unless they are types of entities or numbers themselves."""
    tags = [value_text(label) for label in spec.labels or ()]
    types = _has_entities(spec) and all(map(invalid_tag, tags))
    return () if types or any(tag.isdigit() for tag in tags) else tags


def _tags(
    table: Table, spec: TaskSpec, classes: ClassNames, tokens: Sequence[Sequence[str] | None]
) -> tuple[list[Any], list[Problem]]:
    """Return the tag numbers of each sentence, as many as it has words. Other schemes are converted to IOB2."""
    names = _used(table.class_names.get(spec.tags, ()), classes) or _listed(spec)
    parse = cell_values.tag_texts(names, iob=_is_iob(classes.names))
    changed = 0

    def numbers(pair: tuple[Any, Sequence[str] | None]) -> list[int]:
        nonlocal changed
        cell, words = pair
        tags = parse(cell)
        if words is not None and len(tags) != len(words):
            raise InvalidCellError(f"{len(tags)} tags for {len(words)} words", "one tag for each word")
        if unknown := [tag for tag in tags if tag not in classes.index]:
            raise InvalidCellError(repr(unknown[0]), classes.expected)
        before = cell.split() if isinstance(cell, str) else [cell_values.named(item, names) for item in cell]
        changed += sum(old != new for old, new in zip(before, tags, strict=True))
        return [classes.index[tag] for tag in tags]

    pairs = list(zip(table.column(spec.tags, "tags"), tokens, strict=True))
    values, problems = convert(table, spec.tags, pairs, numbers)
    if changed:
        log.warning("%s: converted %d tags to IOB2, in which B- starts every entity", table.where, changed)
    return values, problems


def _answers(table: Table, spec: TaskSpec, contexts: Sequence[str]) -> tuple[list[Any], list[Problem], int]:
    """Return the located answers to each question, and the number of those whose start was corrected."""
    repaired = 0

    def located(pair: tuple[Any, str]) -> list[dict[str, Any]]:
        nonlocal repaired
        try:
            found, corrected = locate_answers(cell_values.answers(pair[0]), pair[1])
        except InvalidAnswerError as error:
            raise InvalidCellError(str(error), EXPECTED) from error
        if not found and not spec.unanswerable:
            raise InvalidCellError("no answer", "an answer to each question, or `unanswerable: true`")
        repaired += corrected
        return [asdict(answer) for answer in found]

    pairs = list(zip(table.column(spec.answers, "answers"), contexts, strict=True))
    values, problems = convert(table, spec.answers, pairs, located)
    return values, problems, repaired


def _duplicate_ids(tables: Sequence[Table], spec: TaskSpec, ids: Sequence[str]) -> Iterator[Problem]:
    """Yield the first duplicate id in each table, whether its other row is in the same table or an earlier one."""
    if spec.id is None:
        return
    seen: set[str] = set()
    first = 0
    for table in tables:
        rows = []
        for row, id in enumerate(ids[first : first + len(table)]):
            if id in seen:
                rows.append(row)
            seen.add(id)
        if rows:
            yield table.problem(spec.id, rows, f"the duplicate id {ids[first + rows[0]]!r}", "unique ids")
        first += len(table)


def _dataset(content: Columns, spec: TaskSpec) -> Dataset:
    import datasets

    string, integer = datasets.Value("string"), datasets.Value("int64")
    types = {
        "label": {
            "classification": integer,
            "regression": datasets.Value("float32"),
            "multilabel": datasets.List(integer),
        }.get(spec.kind),
        "tokens": datasets.List(string),
        "tags": datasets.List(integer),
        "answers": datasets.List({"text": string, "start": integer}),
    }
    features = datasets.Features({name: types.get(name, string) for name in content})
    return datasets.Dataset.from_dict(content, features=features)
