"""Search for the value that does not fit its column's type, after `datasets` failed to convert a file."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from harness.tasks.qa_answers import short_repr

if TYPE_CHECKING:
    from datasets import Dataset, DatasetBuilder


def first_type_mismatch(builder: DatasetBuilder) -> str | None:
    """Describe the first value of a wrong type by split, column and row; None if no such value is found.

    The expected types are those declared in README.md, or else those of the first split.
    """
    import datasets

    features = builder.info.features
    for split, files in builder.config.data_files.items():
        with TemporaryDirectory() as scratch:
            try:
                rows = datasets.load_dataset(
                    builder.name, data_files=list(files), split="train", cache_dir=scratch, keep_in_memory=True
                )
            except Exception:  # the caller reports the error of its own attempt
                return None
        features = features or rows.features
        for column, feature in features.items():
            if column in rows.column_names and (row := _first(rows, column, feature)) is not None:
                value = short_repr(rows[row][column])
                return f"split {split!r}, column {column!r}, row {row}: found {value}, expected {feature}"
    return None


def _first(rows: Dataset, column: str, feature: Any) -> int | None:
    """Return the first row whose value cannot be cast, by bisection; None if all can."""
    from datasets.table import cast_array_to_feature

    values = rows.data.column(column).combine_chunks()

    def fits(count: int) -> bool:
        try:
            cast_array_to_feature(values[:count], feature)
        except (ValueError, TypeError):  # base classes of pyarrow's errors
            return False
        return True

    if fits(len(values)):
        return None
    low, high = 0, len(values)  # the first `low` rows fit, the first `high` do not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
