"""Scoring: predictions, metrics and the task's score from a model's outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.api.errors import UserError, nearest
from harness.metrics.qa_spans import best_spans
from harness.metrics.word_tags import predicted_tags

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset

    from harness.api.metric import Metric, MetricFactory
    from harness.api.task import Task
    from harness.tasks.tokenization import TokenizedExamples

HIDDEN_TAG = ""
"""The label of a word whose tag is hidden."""

Logits = Sequence[NDArray[np.floating[Any]]]


@dataclass(frozen=True)
class TaskScores:
    """Scores and predictions of one validation split, or of all splits of a task.

    Attributes:
        metrics: values by name; NaN if undefined for these predictions, as a correlation with a constant. Empty if the
            labels are hidden (class -1).
        score: the value of the task's score; None if the labels are hidden.
        frame: one row for each example, in the order of the data set: ``id``, ``prediction``, ``scores``, ``label``,
            ``split``. By kind, prediction and label, and scores:

            - classification: class index; the logits of the classes;
            - multilabel: list of class indices, ascending; the logits of the classes;
            - regression: float; list of the predicted value;
            - token classification: list of tag names, one for each word; the probabilities of the predicted tags;
            - QA: answer text (label: list of answer texts); the scores of the best span and of no answer.

            Hidden labels are -1, [-1], and "" for each word.
    """

    metrics: dict[str, float]
    score: float | None
    frame: pd.DataFrame


def evaluate_outputs(
    task: Task,
    examples: Dataset,
    encoded: TokenizedExamples,
    logits: Logits,
    metrics: Mapping[str, MetricFactory],
    *,
    split: str = "validation",
) -> TaskScores:
    """Score one validation split.

    Args:
        task: names the metrics, and the value that is the score.
        examples: the split.
        encoded: its tokenized rows.
        logits: one array for each row of `encoded`: classification and multilabel [C]; regression [1], in standard
            deviations from the mean label if `task.label_scale` is set; token classification [n, C] of the row's n
            tokens; QA [2, n], start and end logits of these tokens.
        metrics: the registered metrics.
        split: name of the split, for the frame.

    Raises:
        UserError: a metric of the task is not registered or returns no numbers, no metric returns its score, two return
            a value of the same name, or some labels are hidden and others are not.
        ValueError: an output is not finite.
    """
    import pandas as pd

    if len(logits) != len(encoded):
        raise ValueError(f"{len(logits)} outputs for {len(encoded)} rows")
    if not_finite := sum(not np.isfinite(output).all() for output in logits):
        raise ValueError(f"{not_finite} of {len(logits)} outputs on split {split!r} are not finite")
    predictions, scores, labels = _predictions(task, examples, encoded, logits)
    values = {} if _hidden(task, labels, split) else _compute(task, metrics, predictions, labels)
    columns = {"id": list(examples["id"]), "prediction": predictions, "scores": scores, "label": labels}
    return TaskScores(values, values.get(task.score), pd.DataFrame({**columns, "split": split}))


def combine_splits(splits: Mapping[str, TaskScores]) -> TaskScores:
    """Combine the scores of a task's validation splits.

    A single split is returned unchanged. Of several splits, each metric is renamed to ``{split}_{metric}``, and the
    score is the mean of their scores; None if a split has no score.
    """
    import pandas as pd

    if len(splits) == 1:
        return next(iter(splits.values()))
    metrics = {f"{name}_{key}": value for name, split in splits.items() for key, value in split.metrics.items()}
    scores = [split.score for split in splits.values() if split.score is not None]
    score = float(np.mean(scores)) if len(scores) == len(splits) else None
    return TaskScores(metrics, score, pd.concat([split.frame for split in splits.values()], ignore_index=True))


def _predictions(
    task: Task, examples: Dataset, encoded: TokenizedExamples, logits: Logits
) -> tuple[list[Any], list[list[float]], list[Any]]:
    """Return predictions, scores and labels of all examples, as described in `TaskScores`."""
    if task.kind == "qa":
        spans = best_spans(examples, encoded, logits, unanswerable=task.unanswerable)
        references = [[answer["text"] for answer in answers] for answers in examples["answers"]]
        return [span.text for span in spans], [[span.score, span.null_score] for span in spans], references
    if task.kind == "token_classification":
        tags = [[task.labels[tag] if tag >= 0 else HIDDEN_TAG for tag in row] for row in examples["tags"]]
        return *predicted_tags(encoded, logits, task.labels, [len(row) for row in tags]), tags
    outputs = np.stack(logits).astype(np.float64)
    if task.kind == "multilabel":
        chosen = [np.flatnonzero(row > 0).tolist() for row in outputs]
        return chosen, outputs.tolist(), [list(label) for label in examples["label"]]
    if task.label_scale is not None:
        outputs = outputs * task.label_scale.unit + task.label_scale.mean
    predictions = outputs.argmax(-1) if task.kind == "classification" else outputs[:, 0]
    return predictions.tolist(), outputs.tolist(), list(examples["label"])


def _hidden(task: Task, labels: Sequence[Any], split: str) -> bool:
    is_hidden = {
        "classification": lambda label: label < 0,
        "multilabel": lambda label: label == [-1],
        "token_classification": lambda label: HIDDEN_TAG in label,
    }.get(task.kind, lambda label: False)
    if task.kind == "token_classification":
        labels = [tags for tags in labels if tags]  # without words, there is nothing to hide
    hidden: int = sum(map(is_hidden, labels))
    if 0 < hidden < len(labels):
        raise UserError(f"task {task.name!r}, split {split!r}: {hidden} of {len(labels)} labels are hidden (negative)")
    return hidden > 0


def _indicators(classes: Sequence[Sequence[int]], count: int) -> list[list[int]]:
    """Convert lists of class indices to 0 or 1 for each of `count` classes."""
    matrix = np.zeros((len(classes), count), dtype=int)
    for row, present in zip(matrix, classes, strict=True):
        row[list(present)] = 1
    indicators: list[list[int]] = matrix.tolist()
    return indicators


def _compute(
    task: Task, metrics: Mapping[str, MetricFactory], predictions: list[Any], labels: list[Any]
) -> dict[str, float]:
    if task.kind == "multilabel":
        predictions, labels = (_indicators(classes, len(task.labels)) for classes in (predictions, labels))
    values: dict[str, float] = {}
    for name in task.metrics:
        if name not in metrics:
            raise UserError(f"task {task.name!r}: unknown metric {name!r}: {nearest(name, metrics)}")
        returned = values_of(name, metrics[name](), predictions, labels)
        if twice := sorted(values.keys() & returned.keys()):
            raise UserError(
                f"task {task.name!r}: the metric {name!r} returns a value {twice[0]!r}, and so does another one of"
                f" {', '.join(task.metrics)}; a metric of a plugin returns a value of its own name"
            )
        values |= returned
    if task.score not in values:
        raise UserError(
            f"task {task.name!r}: no metric returns the score {task.score!r}: {nearest(task.score, values)}"
        )
    return values


def values_of(name: str, metric: Metric, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
    """Return the values of a metric by name. Raises `UserError` if it returns something else."""
    returned: object = metric.compute(predictions=predictions, references=references)
    try:
        if isinstance(returned, Mapping):
            return {str(key): float(value) for key, value in returned.items()}
    except (TypeError, ValueError):
        pass
    raise UserError(f"metric {name!r}: compute() returned {returned!r:.80}; expected a mapping of names to numbers")
