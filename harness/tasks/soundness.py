"""What must hold for the examples of a task, whoever loads them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from harness.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.tasks.base import Splits

TEXTS = ("text", "text_pair", "question", "context")


def refuse_unsound(task: str, splits: Splits) -> None:
    """Raise `UserError` for a split in which two examples have one id, by which rows are found again, or in which a
    text is missing."""
    for name, split in {"train": splits.train, **splits.validation}.items():
        _refuse_repeated(f"task {task}, split {name}", split)
        for column in TEXTS:
            lacking = split.data.column(column).null_count if column in split.column_names else 0
            if lacking:
                raise UserError(
                    f"task {task}, split {name}: {lacking} examples have no {column}: take them out of the data"
                )


def _refuse_repeated(where: str, split: Dataset) -> None:
    ids = split["id"]
    counts = Counter(ids)
    if len(counts) < len(ids):
        name, count = counts.most_common(1)[0]
        raise UserError(
            f"{where}: {count} examples have the id {name!r}, and {len(ids) - len(counts)} ids in all stand more than"
            " once; each example needs one of its own (files that were put together may each count from 0)"
        )
