"""Validation of a task's examples: columns, types, nulls, ids, labels and answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.api.errors import Problem, UserError, nearest
from harness.tasks import column_faults, label_faults
from harness.tasks.column_faults import Fault
from harness.tasks.features import SENTENCES

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

    from harness.api.batch import TaskKind
    from harness.api.task import Splits, Task


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

    @property
    def target_refers_to_text(self) -> bool:
        """Whether the labels are positions in the text, or one for each word."""
        return self.kind in ("qa", "token_classification")


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

    faults = [("id", fault) for fault in column_faults.id_faults(table.column("id"))]
    words = columns.kind == "token_classification"
    check_texts = column_faults.word_faults if words else column_faults.text_faults
    faults += [(name, fault) for name in columns.texts for fault in check_texts(table.column(name))]
    read = columns.target in table.column_names
    if read and not (columns.target_refers_to_text and faults):  # the check then needs valid texts
        faults += [(columns.target, fault) for fault in _target_faults(columns, table, may_hide=may_hide)]
    no_ids = [None] * len(ids)
    return [
        fault.problem(where, columns.names.get(name, name), no_ids if name == "id" else ids) for name, fault in faults
    ]


def _target_faults(columns: Columns, table: pa.Table, *, may_hide: bool) -> Iterator[Fault]:
    """Return the faults of the labels, tags or answers. Tags and answers need valid texts."""
    column = table.column(columns.target)
    match columns.kind:
        case "qa":
            contexts = table.column("context").to_pylist()
            return label_faults.answer_faults(column, contexts, unanswerable=columns.unanswerable)
        case "token_classification":
            words = table.column("tokens").to_pylist()
            return label_faults.tag_faults(column, columns.classes, words, may_hide=may_hide)
        case "multilabel":
            return label_faults.class_list_faults(column, columns.classes, may_hide=may_hide)
        case "classification":
            return label_faults.class_faults(column, columns.classes, may_hide=may_hide)
        case _:
            return label_faults.number_faults(column, columns.label_range)
