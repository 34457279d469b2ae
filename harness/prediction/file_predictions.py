"""Predicts the rows of a table file and writes the table with the predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.prediction import tables, text_columns
from harness.prediction.loaded_model import LoadedModel
from harness.prediction.predictions import predict
from harness.prediction.tables import Table

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PredictionOptions:
    """How a file is predicted: the names of its text columns, and whether to add the probability of every class."""

    text: str | None = None
    text_pair: str | None = None
    scores: bool = False
    batch_size: int = 32


@dataclass(frozen=True)
class Written:
    """What was written: number of rows, the columns that were read, those that were added, and renamed ones."""

    rows: int
    read: tuple[str, ...]
    added: tuple[str, ...]
    renamed: dict[str, str] = field(default_factory=dict)


def predict_file(
    model: LoadedModel,
    table: Table,
    out: Path,
    device: torch.device,
    options: PredictionOptions,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Written:
    """Predict every row of `table`, and write it with the columns of `predictions.predict` to `out`.

    Raises:
        UserError: a column is missing or has no texts, or the model cannot be used.
    """
    columns = text_columns.find(table, text=options.text, text_pair=options.text_pair, paired=model.paired)
    texts = [text_columns.texts_of(table, name, words=model.kind == "token_classification") for name in columns]
    output = predict(
        model, texts, device, batch_size=options.batch_size, scores=options.scores, on_progress=on_progress
    )
    result, renamed = table.with_columns(output)
    tables.write(result, out)
    return Written(len(table), columns, tuple(renamed.get(name, name) for name in output), renamed)
