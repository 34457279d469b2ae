"""Reads predictions.parquet. Imports neither torch nor `evaluate`."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import xxhash
from numpy.typing import NDArray

from harness.analysis import prediction_checks
from harness.analysis.prediction_checks import SCORES
from harness.api.errors import Problem, UserError
from harness.api.wording import counted
from harness.storage import checksums
from harness.storage.disk_errors import explained
from harness.storage.plan_file import PlannedTask

SHARED = ("id", "split", "label")
"""The columns of the examples, which are equal for all runs on the same data."""

COLUMNS = (*SHARED, "prediction")


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
    _stored: dict[str, Examples] = field(default_factory=dict)
    """Digest of the stored columns -> the examples."""
    _texts: dict[Any, Any] = field(default_factory=dict)

    def read(self, path: Path) -> PredictionTable | None:
        """Read the file at `path`.

        Returns:
            None if the file does not exist.

        Raises:
            UserError: the file cannot be read, does not match its checksum, or has not the contents of a scored run.
        """
        content = _content(path)
        if content is None:
            return None
        digest, table = _read(path, content, self.task, self._stored)
        examples = self._stored.get(digest) or self._examples(table.select(SHARED))
        if len(examples.ids) != len(table):  # the columns were not read together
            raise _unusable(path, f"has {counted(len(table), 'prediction')}, expected {len(examples.ids)}")
        self._stored[digest] = examples
        return self._predictions(table, examples)

    def predictions(self, table: pa.Table) -> PredictionTable:
        """Convert a table with the columns of predictions.parquet."""
        return self._predictions(table, self._examples(table.select(SHARED)))

    def _predictions(self, table: pa.Table, examples: Examples) -> PredictionTable:
        predictions = self._values(table["prediction"])
        if predictions.dtype == object:  # runs often give the same texts
            predictions = objects([self._texts.setdefault(text, text) for text in predictions])
        return PredictionTable(examples, predictions, _scores(table, self.task))

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


def _content(path: Path) -> bytes | None:
    """The bytes of a file, which match its checksum; None if it does not exist."""
    try:
        with explained(path, can_be_missing=True):
            content = path.read_bytes()
        checksums.verify_content(path, content)
    except FileNotFoundError:
        return None
    except (OSError, checksums.CorruptFileError) as error:
        raise _unreadable(path, error) from error
    return content


def _read(path: Path, content: bytes, task: PlannedTask, known: Container[str]) -> tuple[str, pa.Table]:
    """Read the content of the file at `path`: the digest of its examples, and its columns.

    The columns of the examples are left out if their digest is `known`: decoding them takes half of the time.
    """
    try:
        with parquet.ParquetFile(pa.BufferReader(content)) as file:
            schema = file.schema_arrow
            names = schema.names
            if missing := [name for name in COLUMNS if names.count(name) != 1]:
                raise _unusable(path, f"does not have a column {missing[0]!r}")
            digest = _digest_of_examples(file.metadata, schema, content)
            columns = [
                name for name in (*COLUMNS, SCORES) if name in names and (name not in SHARED or digest not in known)
            ]
            table = file.read(columns, use_threads=False)
        table.validate(full=True)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error
    if fault := prediction_checks.fault(table, task):
        raise _unusable(path, f"does not hold the predictions of a run on {task.name}: {fault}")
    return digest, table


def _digest_of_examples(metadata: parquet.FileMetaData, schema: pa.Schema, content: bytes) -> str:
    """A digest of the columns in `SHARED` as they are stored: equal digests mean equal values and types."""
    digest, view = xxhash.xxh3_128(), memoryview(content)
    types = {name: str(schema.field(name).type) for name in SHARED}
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for chunk in map(group.column, range(group.num_columns)):
            name = chunk.path_in_schema.partition(".")[0]
            if name in SHARED:
                start = chunk.dictionary_page_offset or chunk.data_page_offset
                encoding = (name, chunk.num_values, chunk.compression, chunk.encodings, start == chunk.data_page_offset)
                digest.update(repr((encoding, types[name])).encode())
                digest.update(view[start : start + chunk.total_compressed_size])
    return digest.hexdigest()


def _unreadable(path: Path, error: Exception) -> UserError:
    return _unusable(path, f"cannot be read ({' '.join(str(error).split()):.200})")


def _unusable(path: Path, found: str) -> UserError:
    remedy = "delete its folder and run the suite again, which runs only what is missing"
    return UserError(Problem(f"{found}; {remedy}", str(path)))
