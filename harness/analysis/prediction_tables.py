"""Reads predictions.parquet. Imports neither torch nor `evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from harness.api.errors import Problem, UserError
from harness.storage import checksums
from harness.storage.disk_errors import explained

COLUMNS = ["id", "prediction", "label", "split"]

SCORES = "scores"


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of one run and the labels, aligned by example (see `harness.metrics.task_scores.TaskScores`)."""

    predictions: NDArray[Any]
    labels: NDArray[Any]


@dataclass(frozen=True, eq=False)
class PredictionTable:
    """The contents of one predictions.parquet."""

    table: pa.PredictionTable

    def same_examples(self, other: PredictionTable) -> bool:
        """Whether both contain the same examples in the same order."""
        return all(self.table[name].equals(other.table[name]) for name in ("id", "split", "label"))

    def column(self, name: str) -> NDArray[Any]:
        """The values of a column, in the order of the file."""
        values: NDArray[Any] = self.table[name].to_numpy()
        return values

    def scores(self) -> list[Any] | None:
        """The model outputs behind each prediction (see `harness.metrics.task_scores.TaskScores`); None if not read."""
        return list(self.column(SCORES)) if SCORES in self.table.column_names else None


def by_split(tables: Sequence[PredictionTable]) -> dict[str, list[Predictions]]:
    """Split -> the predictions of each table. All tables must contain the same examples."""
    names, labels = tables[0].column("split"), tables[0].column("label")
    predictions = [table.column("prediction") for table in tables]
    splits: dict[str, list[Predictions]] = {}
    for split in dict.fromkeys(names.tolist()):
        rows = names == split
        split_labels = labels[rows]
        splits[str(split)] = [Predictions(column[rows], split_labels) for column in predictions]
    return splits


def read(path: Path, *, scores: bool = False) -> PredictionTable | None:
    """Read the file at `path`.

    Args:
        scores: whether to read the model outputs behind the predictions, if the file contains them.

    Returns:
        None if the file does not exist or lacks the columns of a scored run.

    Raises:
        UserError: the file cannot be read, or does not match its checksum.
    """
    try:
        checksums.verify_file(path)
        with explained(path, can_be_missing=True), parquet.ParquetFile(path) as file:
            names = set(file.schema_arrow.names)
            columns = [*COLUMNS, SCORES] if scores and SCORES in names else COLUMNS
            table = file.read(columns, use_threads=False) if set(COLUMNS) <= names else None
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException, checksums.CorruptFileError) as error:
        text = " ".join(str(error).split())
        remedy = "delete its folder and run the suite again, which runs only what is missing"
        raise UserError(Problem(f"cannot be read ({text:.200}); {remedy}", str(path))) from error
    return None if table is None else PredictionTable(table)
