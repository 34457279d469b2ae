"""Reads predictions.parquet. Imports neither torch nor `evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
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
    """Predictions of one run and the labels, aligned by example (see `harness.metrics.task_scores.TaskScores`).

    Of a multilabel task both are int8 [examples, C], 1 for the classes of the example, else 0; -1 for a hidden label;
    of token classification, tuples of tag names.
    """

    predictions: NDArray[Any]
    labels: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Examples:
    """The examples of predictions. All runs that scored the same examples in the same order share one object.

    Attributes:
        labels: correct answers; for a question a tuple of answers. Otherwise as in `Predictions`.
    """

    ids: NDArray[Any]
    splits: NDArray[Any]
    labels: NDArray[Any]


@dataclass(frozen=True, eq=False)
class PredictionTable:
    """The contents of one predictions.parquet.

    Attributes:
        scores: [examples, k], the model outputs behind each prediction (see `harness.metrics.task_scores.TaskScores`);
            None if they are not stored, and for token classification, where k differs between examples.
    """

    examples: Examples
    predictions: NDArray[Any]
    scores: NDArray[np.float64] | None = None

    def without_scores(self) -> PredictionTable:
        return replace(self, scores=None)


@dataclass
class TaskExamples:
    """Reads the predictions of many runs on one task. What they have in common is kept once."""

    task: PlannedTask
    _known: list[tuple[pa.Table, Examples]] = field(default_factory=list)
    _texts: dict[Any, Any] = field(default_factory=dict)

    def read(self, path: Path) -> PredictionTable | None:
        """Read the file at `path`.

        Returns:
            None if the file does not exist.

        Raises:
            UserError: the file cannot be read, does not match its checksum, or has not the contents of a scored run.
        """
        table = _read(path, self.task)
        return None if table is None else self.predictions(table)

    def predictions(self, table: pa.Table) -> PredictionTable:
        """Convert a table with the columns of predictions.parquet."""
        predictions = self._values(table["prediction"])
        if predictions.dtype == object:  # runs often give the same texts
            predictions = objects([self._texts.setdefault(text, text) for text in predictions])
        return PredictionTable(
            self._examples(table.select(["id", "split", "label"])), predictions, _scores(table, self.task)
        )

    def _examples(self, table: pa.Table) -> Examples:
        for known, examples in self._known:
            if all(known[name].equals(table[name]) for name in known.column_names):
                return examples
        ids, splits, labels = (self._values(table[name]) for name in table.column_names)
        self._known.append((table, Examples(ids, splits, labels)))
        return self._known[-1][1]

    def _values(self, column: pa.ChunkedArray) -> NDArray[Any]:
        if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
            values: NDArray[Any] = column.to_numpy()
            return values
        lists = column.to_pylist()
        return self._indicators(lists) if self.task.kind == "multilabel" else objects([tuple(row) for row in lists])

    def _indicators(self, lists: Sequence[Sequence[int]]) -> NDArray[np.int8]:
        indicators = np.zeros((len(lists), len(self.task.labels)), dtype=np.int8)
        for row, classes in zip(indicators, lists, strict=True):
            row[:] = -1 if classes == [-1] else row
            row[[index for index in classes if index >= 0]] = 1
        return indicators


def by_split(tables: Sequence[PredictionTable]) -> dict[str, list[Predictions]]:
    """Split -> the predictions of each table. All tables must contain the same examples."""
    names, labels = tables[0].examples.splits, tables[0].examples.labels
    splits: dict[str, list[Predictions]] = {}
    for split in dict.fromkeys(names.tolist()):
        rows = names == split
        split_labels = labels[rows]
        splits[str(split)] = [Predictions(table.predictions[rows], split_labels) for table in tables]
    return splits


def objects(values: Sequence[Any]) -> NDArray[Any]:
    """An array of the values as they are; `np.array` would make a matrix of tuples of equal length."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _scores(table: pa.Table, task: PlannedTask) -> NDArray[np.float64] | None:
    if SCORES not in table.column_names or not len(table) or task.kind == "token_classification":
        return None
    lists = table[SCORES].combine_chunks()
    flat: NDArray[np.float64] = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    width = len(flat) // len(table)
    regular = bool((np.diff(lists.offsets.to_numpy()) == width).all())
    return flat.reshape(-1, width) if width and regular else None


def _read(path: Path, task: PlannedTask) -> pa.Table | None:
    try:
        checksums.verify_file(path)
        with explained(path, can_be_missing=True), parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if missing := [name for name in COLUMNS if names.count(name) != 1]:
                raise _unusable(path, f"does not have a column {missing[0]!r}")
            table = file.read([*COLUMNS, SCORES] if SCORES in names else COLUMNS, use_threads=False)
        table.validate(full=True)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException, checksums.CorruptFileError) as error:
        raise _unusable(path, f"cannot be read ({' '.join(str(error).split()):.200})") from error
    if fault := prediction_checks.fault(table, task):
        raise _unusable(path, f"does not hold the predictions of a run on {task.name}: {fault}")
    return table


def _unusable(path: Path, found: str) -> UserError:
    remedy = "delete its folder and run the suite again, which runs only what is missing"
    return UserError(Problem(f"{found}; {remedy}", str(path)))
