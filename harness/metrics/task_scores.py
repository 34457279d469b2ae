"""From a model's outputs to predictions, metrics and the task's score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.api.errors import UserError, nearest
from harness.metrics.qa_spans import best_spans

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset

    from harness.api.task import Task
    from harness.tasks.tokenization import TokenizedExamples

Logits = Sequence[NDArray[np.floating[Any]]]


@dataclass(frozen=True)
class TaskScores:
    """A scored validation split, or all of a task's.

    `frame` has a row for each example in the data set's order: ``id``; ``prediction`` (class index, float, or answer
    text); ``scores`` (the logits behind it: of each class; the value itself; of the best span and of no answer);
    ``label`` (class index, float, or list of answer texts); ``split``. Where the labels are hidden (class -1), there
    are no metrics and no score. A metric that is undefined for these predictions, as a correlation with a constant is,
    is NaN, and so is then a score.
    """

    metrics: dict[str, float]
    score: float | None
    frame: pd.DataFrame


def evaluate_outputs(
    task: Task,
    examples: Dataset,
    encoded: TokenizedExamples,
    logits: Logits,
    metrics: Mapping[str, Callable[[], Any]],
    *,
    split: str = "validation",
) -> TaskScores:
    """Score one validation split.

    Args:
        task: says which metrics are computed, and which of their values is the score.
        examples: the split.
        encoded: its tokenised rows, of `encode`.
        logits: one array for each row of `encoded`: classification [C]; regression [1]; QA [2, n], start and end of
            the row's n tokens.
        metrics: factories of `evaluate.Metric` by registered name.
        split: its name, for the frame.

    Raises:
        UserError: the task names a metric that is not registered, or a score that none of them returns; or some of
            the labels are hidden, and others not.
        ValueError: an output is not finite.
    """
    import pandas as pd

    if len(logits) != len(encoded):
        raise ValueError(f"{len(logits)} outputs for {len(encoded)} rows")
    if wrong := sum(not np.isfinite(output).all() for output in logits):
        raise ValueError(f"{wrong} of {len(logits)} outputs on split {split!r} are not finite")
    if task.kind == "qa":
        spans = best_spans(examples, encoded, logits, unanswerable=task.unanswerable)
        predictions: list[Any] = [span.text for span in spans]
        scores = [[span.score, span.null_score] for span in spans]
        labels: list[Any] = [[answer["text"] for answer in answers] for answers in examples["answers"]]
    else:
        outputs = np.stack(logits).astype(np.float64)
        predictions = (outputs.argmax(-1) if task.kind == "classification" else outputs[:, 0]).tolist()
        scores = outputs.tolist()
        labels = list(examples["label"])
    values = {} if _hidden(task, labels, split) else _compute(task, metrics, predictions, labels)
    columns = {"id": list(examples["id"]), "prediction": predictions, "scores": scores, "label": labels}
    return TaskScores(values, values.get(task.score), pd.DataFrame({**columns, "split": split}))


def combine_splits(parts: Mapping[str, TaskScores]) -> TaskScores:
    """A task's result over all its validation splits.

    One split keeps the names of its metrics; of several each metric becomes ``{split}_{metric}``, and the score is
    the mean of theirs; there is none if one of them has none.
    """
    import pandas as pd

    if len(parts) == 1:
        return next(iter(parts.values()))
    metrics = {f"{split}_{name}": value for split, part in parts.items() for name, value in part.metrics.items()}
    scores = [part.score for part in parts.values() if part.score is not None]
    score = float(np.mean(scores)) if len(scores) == len(parts) else None
    return TaskScores(metrics, score, pd.concat([part.frame for part in parts.values()], ignore_index=True))


def _hidden(task: Task, labels: Sequence[Any], split: str) -> bool:
    hidden = sum(label < 0 for label in labels) if task.kind == "classification" else 0
    if 0 < hidden < len(labels):
        raise UserError(f"task {task.name!r}, split {split!r}: {hidden} of {len(labels)} labels are hidden (negative)")
    return hidden > 0


def _compute(
    task: Task, metrics: Mapping[str, Callable[[], Any]], predictions: list[Any], labels: list[Any]
) -> dict[str, float]:
    values: dict[str, float] = {}
    for name in task.metrics:
        if name not in metrics:
            raise UserError(f"task {task.name!r} asks for the metric {name!r}: {nearest(name, metrics)}")
        values |= metrics[name]().compute(predictions=predictions, references=labels)
    if task.score not in values:
        raise UserError(f"task {task.name!r} is scored by {task.score!r}: {nearest(task.score, values)}")
    return {name: float(value) for name, value in values.items()}
