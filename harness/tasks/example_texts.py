"""The texts of a task's scored examples, as the store keeps them for people to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from harness.api.task import Splits

COLUMNS = ("text", "text_pair", "question", "context")


def validation_texts(splits: Splits) -> pd.DataFrame:
    """A row for each validation example: ``split``, ``id``, and those of `COLUMNS` that the task has."""
    import pandas as pd

    frames = []
    for name, dataset in splits.validation.items():
        there = [column for column in COLUMNS if column in dataset.column_names]
        columns = {column: list(dataset[column]) for column in ("id", *there)}
        frames.append(pd.DataFrame(columns).assign(split=name))
    whole = pd.concat(frames, ignore_index=True)
    return whole[["split", *(column for column in whole.columns if column != "split")]]
