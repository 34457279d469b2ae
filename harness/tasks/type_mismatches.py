"""Values of a data set's files that do not fit the types of its columns, found after `datasets` has failed on them."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from harness.tasks.qa_answers import shown

if TYPE_CHECKING:
    from datasets import Dataset, DatasetBuilder


def misfit(builder: DatasetBuilder) -> str | None:
    """The first value that does not fit, with split, column and row; None if it cannot be told.

    Types are those that the README.md declares, or else those of the first split.
    """
    import datasets

    features = builder.info.features
    for split, files in builder.config.data_files.items():
        with TemporaryDirectory() as scratch:
            try:
                rows = datasets.load_dataset(
                    builder.name, data_files=list(files), split="train", cache_dir=scratch, keep_in_memory=True
                )
            except Exception:  # whatever it is, it was raised before, and is reported by the caller
                return None
        features = features or rows.features
        for column, feature in features.items():
            if column in rows.column_names and (row := _first(rows, column, feature)) is not None:
                value = shown(rows[row][column])
                return f"split {split!r}, column {column!r}, row {row}: found {value}, expected {feature}"
    return None


def _first(rows: Dataset, column: str, feature: Any) -> int | None:
    """The first row whose value cannot be cast, by bisection."""
    from datasets.table import cast_array_to_feature

    values = rows.data.column(column).combine_chunks()

    def fits(count: int) -> bool:
        try:
            cast_array_to_feature(values[:count], feature)
        except (ValueError, TypeError):  # pyarrow's own are among them
            return False
        return True

    if fits(len(values)):
        return None
    low, high = 0, len(values)  # `low` rows fit, `high` do not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
