"""What models answered, read from predictions.parquet for the bootstrap. It imports neither torch nor `evaluate`."""

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

COLUMNS = ["id", "prediction", "label", "split"]

SCORES = "scores"


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions on some examples, beside the right ones (see `harness.metrics.task_scores.Scored`)."""

    predictions: NDArray[Any]
    labels: NDArray[Any]


@dataclass(frozen=True, eq=False)
class PredictionTable:
    """One predictions.parquet."""

    table: pa.PredictionTable

    def same_examples(self, other: PredictionTable) -> bool:
        """Whether both hold the same examples in the same order."""
        return all(self.table[name].equals(other.table[name]) for name in ("id", "split", "label"))

    def column(self, name: str) -> NDArray[Any]:
        """Its values, in the order of the file."""
        values: NDArray[Any] = self.table[name].to_numpy()
        return values

    def scores(self) -> list[Any] | None:
        """What stands behind each prediction (see `harness.metrics.task_scores.Scored`), if it was read."""
        return list(self.column(SCORES)) if SCORES in self.table.column_names else None


def by_split(tables: Sequence[PredictionTable]) -> dict[str, list[Predictions]]:
    """Split -> the answers of each table, all of which hold the same examples."""
    names, labels = tables[0].column("split"), tables[0].column("label")
    predictions = [table.column("prediction") for table in tables]
    found: dict[str, list[Predictions]] = {}
    for split in dict.fromkeys(names.tolist()):
        rows = names == split
        right = labels[rows]
        found[str(split)] = [Predictions(column[rows], right) for column in predictions]
    return found


def read(path: Path, *, scores: bool = False) -> PredictionTable | None:
    """The file at `path`, with what stands behind its predictions if that is asked for and there; None if it is not
    there, or has not the columns of a scored run.

    Raises:
        UserError: it cannot be read, or does not match its checksum.
    """
    try:
        checksums.verify_file(path)
        with parquet.ParquetFile(path) as file:
            names = set(file.schema_arrow.names)
            columns = [*COLUMNS, SCORES] if scores and SCORES in names else COLUMNS
            table = file.read(columns, use_threads=False) if set(COLUMNS) <= names else None
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException, checksums.Damaged) as error:
        text = " ".join(str(error).split())
        remedy = "delete the folder that it lies in and run the suite again, which makes only what is missing"
        raise UserError(Problem(f"cannot be read ({text:.200}); {remedy}", str(path))) from error
    return None if table is None else PredictionTable(table)
