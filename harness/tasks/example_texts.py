"""The texts of a task's validation examples, as a table for the store and the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.tasks.features import text_columns, texts_of

if TYPE_CHECKING:
    import pandas as pd

    from harness.api.task import Splits


def validation_texts(splits: Splits) -> pd.DataFrame:
    """Return a row for each validation example: ``split``, ``id``, and the text columns; words are joined to a text."""
    import pandas as pd

    frames = []
    for name, dataset in splits.validation.items():
        columns = {column: list(texts_of(dataset[column])) for column in ("id", *text_columns(dataset))}
        columns = {"text" if column == "tokens" else column: texts for column, texts in columns.items()}
        frames.append(pd.DataFrame(columns).assign(split=name))
    table = pd.concat(frames, ignore_index=True)
    return table[["split", *(column for column in table.columns if column != "split")]]
