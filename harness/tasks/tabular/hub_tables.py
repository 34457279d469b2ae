"""Splits of data sets on the hub, or in folders with the hub's layout, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.tasks.data_sources import get_split, load_source
from harness.tasks.tabular.lazy_cells import LazyCells
from harness.tasks.tabular.table import Table

if TYPE_CHECKING:
    from datasets import Dataset


def read_split(source: str, config: str | None, revision: str | None, split: str) -> Table:
    """Return one split of `source`, a hub id or a folder, as a table. Raises `UserError` if it cannot be loaded."""
    data = load_source(source, config, revision=revision)
    title = f"data set {source!r}" + (f", config {config!r}" if config else "")
    rows = get_split(data, split, (), title)
    names = {column: found for column, feature in rows.features.items() if (found := _class_names(feature))}
    where = f"{title}, split {split!r}"
    columns = {name: _cells(rows, name, where) for name in rows.column_names}
    return Table(where, columns, class_names=names)


def _cells(rows: Dataset, column: str, where: str) -> LazyCells:
    type = rows.data.schema.field(column).type
    return LazyCells(len(rows), lambda: list(rows[column][:]), f"{where}, column {column!r} ({type})")


def _class_names(feature: Any) -> list[str]:
    """Return the class names of a column of class numbers, or of lists of them; empty if it has none."""
    return list(getattr(getattr(feature, "feature", feature), "names", None) or ())
