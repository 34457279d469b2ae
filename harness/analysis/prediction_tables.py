"""Reads predictions.parquet. Imports neither torch nor `evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from harness.analysis import prediction_checks
from harness.analysis.prediction_checks import SCORES
from harness.api.errors import Problem, UserError
from harness.storage import checksums
from harness.storage.disk_errors import explained
from harness.storage.records import PlannedTask

COLUMNS = ["id", "prediction", "label", "split"]


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of one run and the labels, aligned by example (see `harness.metrics.task_scores.TaskScores`)."""

    predictions: NDArray[Any]
    labels: NDArray[Any]


@dataclass(frozen=True, eq=False)
class PredictionTable:
    """The contents of one predictions.parquet."""

    table: pa.Table

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


def read(path: Path, task: PlannedTask, *, scores: bool = False) -> PredictionTable | None:
    """Read the predictions of a run on `task` from the file at `path`.

    Args:
        scores: whether to read the model outputs behind the predictions, if the file contains them.

    Returns:
        None if the file does not exist.

    Raises:
        UserError: the file cannot be read, does not match its checksum, or has not the contents of a scored run.
    """
    try:
        checksums.verify_file(path)
        with explained(path, can_be_missing=True), parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if missing := [name for name in COLUMNS if names.count(name) != 1]:
                raise _unusable(path, f"does not have a column {missing[0]!r}")
            table = file.read([*COLUMNS, SCORES] if scores and SCORES in names else COLUMNS, use_threads=False)
        table.validate(full=True)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException, checksums.CorruptFileError) as error:
        raise _unusable(path, f"cannot be read ({' '.join(str(error).split()):.200})") from error
    if fault := prediction_checks.fault(table, task):
        raise _unusable(path, f"does not hold the predictions of a run on {task.name}: {fault}")
    return PredictionTable(table)


def _unusable(path: Path, found: str) -> UserError:
    remedy = "delete its folder and run the suite again, which runs only what is missing"
    return UserError(Problem(f"{found}; {remedy}", str(path)))
