"""A model's errors on a task: counts, confusion matrix, and its most confident wrong examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.analysis.prediction_checks import HIDDEN_TAG
from harness.analysis.prediction_tables import PredictionTable
from harness.analysis.resampled_metrics import matches, words_right
from harness.analysis.student_t import Floats
from harness.metrics.entity_spans import entities
from harness.metrics.squad_matching import match, match_v2
from harness.storage.plan_file import PlannedTask

MAX_CLASSES = 20
"""Maximum number of classes of a confusion matrix."""

MAX_ANSWER_LENGTH = 200
"""Maximum number of characters of an answer on the page."""


@dataclass(frozen=True, slots=True)
class WrongExample:
    """A wrongly predicted example on the page.

    Attributes:
        split, id: identify the example.
        gold, predicted, teacher: answers as display texts; `teacher` is None without a teacher.
        differs: whether the teacher's answer differs from the model's.
        size: size of the error, by which examples are ordered; its unit depends on the kind of task.
    """

    split: str
    id: str
    gold: str
    predicted: str
    teacher: str | None
    differs: bool
    size: float


@dataclass(frozen=True)
class Errors:
    """The errors of one model on one task.

    Attributes:
        examples: number of examples scored.
        wrong: number of wrong examples; None for regression.
        differs: number of wrong examples for which the teacher's answer differs; None without a teacher.
        shown: the examples on the page.
        confusion: counts as [gold][predicted]; None unless it is a classification with few classes.
    """

    examples: int
    wrong: int | None
    differs: int | None
    shown: Sequence[WrongExample]
    confusion: Sequence[Sequence[int]] | None = None


def errors(
    task: PlannedTask,
    predictions: PredictionTable,
    teacher: PredictionTable | None,
    most: int,
    *,
    exact: float | None = None,
) -> Errors | None:
    """Collect a model's errors, at most `most` examples of them, with the teacher's answers. None if labels are hidden.

    `exact` is the record's share of exact answers in percent, if it has one.

    The worst examples come first: the most confident wrong classes; the most words with a wrong tag; answer texts with
    the lowest word overlap with a right answer, then the most confident; the largest residuals of a regression. Half of
    the examples are ones for which the teacher's answer differs, if there are enough of them.
    """
    examples, predicted = predictions.examples, predictions.predictions
    gold = examples.labels
    if is_hidden(task, gold):
        return None
    other = teacher.predictions if teacher is not None and teacher.examples is examples else None
    sizes = _SIZES[task.kind](gold, predicted, predictions.scores, exact)
    wrong = np.flatnonzero(sizes > 0)
    differs = np.zeros(len(gold), bool) if other is None else _differs(task, predicted, other)
    order = wrong[np.argsort(-sizes[wrong], kind="stable")]
    text = AnswerText(task)
    return Errors(
        examples=len(gold),
        wrong=None if task.kind == "regression" else len(wrong),
        differs=None if other is None else int(differs[wrong].sum()),
        shown=[
            WrongExample(
                str(examples.splits[at]),
                str(examples.ids[at]),
                text(gold[at]),
                text(predicted[at]),
                None if other is None else text(other[at]),
                bool(differs[at]),
                float(sizes[at]),
            )
            for at in _chosen(order, differs, most)
        ],
        confusion=_confusion(task, gold, predicted),
    )


def error_sizes(task: PlannedTask, table: PredictionTable, exact: float | None = None) -> Floats:
    """Return [examples], the size of the error on each example without the model's confidence; 0: the answer is right.

    1 for a wrong class, the number of wrong classes or words, 2 - F1 of a wrong text, the absolute residual.
    """
    return _SIZES[task.kind](table.examples.labels, table.predictions, None, exact)


def is_hidden(task: PlannedTask, gold: NDArray[Any]) -> bool:
    if task.kind == "token_classification":
        return any(HIDDEN_TAG in tags for tags in gold)
    return task.kind in ("classification", "multilabel") and bool(len(gold) and gold.min() < 0)


def _chosen(order: NDArray[Any], differs: NDArray[np.bool_], most: int) -> list[int]:
    """Return the first `most` of `order`, up to half of them reserved for examples that differ, in the same order."""
    chosen = np.zeros(len(order), dtype=bool)
    chosen[np.flatnonzero(differs[order])[: most // 2]] = True
    chosen[np.flatnonzero(~chosen)[: most - int(chosen.sum())]] = True
    rows: list[int] = order[chosen].tolist()
    return rows


def _differs(task: PlannedTask, one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where two models' answers differ. Numbers differ if they are more than 0.1 standard deviations apart."""
    if task.kind == "regression":
        far: NDArray[np.bool_] = np.abs(one - other) > 0.1 * (float(np.std(other)) or 1.0)
        return far
    unequal: NDArray[np.bool_] = np.asarray(one != other, dtype=bool)
    if task.kind == "multilabel":
        unequal = np.logical_or.reduce(unequal, axis=-1)
    return unequal


def _wrong_classes(gold: NDArray[Any], predicted: NDArray[Any], scores: Floats | None, exact: float | None) -> Floats:
    """Return 0 for a right class, otherwise the probability of the wrong class (1 if scores are not stored)."""
    wrong = np.asarray(gold != predicted, dtype=float)
    if scores is None or not len(gold):
        return wrong
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    confidence: Floats = wrong * odds.max(axis=1) / odds.sum(axis=1)
    return confidence


def _wrong_class_sets(
    gold: NDArray[Any], predicted: NDArray[Any], scores: Floats | None, exact: float | None
) -> Floats:
    """Return the probabilities of the wrong decisions about classes, summed (their number if scores are not stored)."""
    wrong = np.asarray(gold != predicted, dtype=float)
    if scores is not None:
        wrong *= 1 / (1 + np.exp(-np.abs(scores)))
    total: Floats = wrong.sum(-1)
    return total


def _wrong_tags(gold: NDArray[Any], predicted: NDArray[Any], scores: Floats | None, exact: float | None) -> Floats:
    """Return the number of words with a wrong tag."""
    return np.array([len(tags) - words_right(tags, own) for tags, own in zip(gold, predicted, strict=True)], float)


def _wrong_texts(gold: NDArray[Any], predicted: NDArray[Any], scores: Floats | None, exact: float | None) -> Floats:
    """Return 0 for an exact match, otherwise 2 - F1 plus up to 0.002 for the confidence in the span."""
    right, f1 = _matches(gold, predicted, exact).T
    margin = np.zeros(len(gold)) if scores is None else np.tanh((scores[:, 0] - scores[:, 1]) / 20)
    sizes: Floats = np.where(right > 0, 0.0, 1 + (1 - f1) + 1e-3 * (1 + margin))
    return sizes


def _matches(gold: NDArray[Any], predicted: NDArray[Any], exact: float | None) -> Floats:
    """Return [examples, 2], exact match and F1 of each answer, by the version of SQuAD that reproduces the record's
    `exact`.

    If neither version does, it is version 2 if some question has no answer, else version 1.
    """
    versions = (match, match_v2) if all(len(answers) for answers in gold) else (match_v2, match)
    results = []
    for version in versions:
        results.append(matches(version, predicted, gold))
        if exact is None or np.isclose(100 * results[-1][:, 0].mean(), exact, rtol=1e-6):
            return results[-1]
    return results[0]


def _residuals(gold: NDArray[Any], predicted: NDArray[Any], scores: Floats | None, exact: float | None) -> Floats:
    residuals: Floats = np.abs(np.asarray(predicted, float) - np.asarray(gold, float))
    return residuals


_SIZES: dict[str, Callable[[NDArray[Any], NDArray[Any], Floats | None, float | None], Floats]] = {
    "classification": _wrong_classes,
    "multilabel": _wrong_class_sets,
    "token_classification": _wrong_tags,
    "qa": _wrong_texts,
    "regression": _residuals,
}


class AnswerText:
    """Formats an answer of a task as text."""

    def __init__(self, task: PlannedTask) -> None:
        self.task = task

    def __call__(self, value: Any) -> str:
        if self.task.kind == "classification":
            return class_name(self.task, int(value))
        if self.task.kind == "multilabel":
            names = ", ".join(class_name(self.task, int(index)) for index in np.flatnonzero(value))
            return truncate(names or "none", MAX_ANSWER_LENGTH)
        if self.task.kind == "token_classification":
            return truncate(_tags_text(value), MAX_ANSWER_LENGTH)
        if self.task.kind == "regression":
            return f"{float(value):.2f}"
        texts = [value] if isinstance(value, str) else list(dict.fromkeys(value))
        return truncate(" / ".join(text or "no answer" for text in texts or [""]), MAX_ANSWER_LENGTH)


def _tags_text(tags: Sequence[str]) -> str:
    """Return the entities with their words, counted from 1, as in "PER 2-3, LOC 7"; tags without prefix as they are."""
    if any(tag != "O" and tag[1:2] != "-" for tag in tags):
        return " ".join(tags)
    found = sorted(entities(tags), key=lambda entity: entity[1:])
    texts = (f"{type} {first + 1}" + (f"-{last + 1}" if last > first else "") for type, first, last in found)
    return ", ".join(texts) or "no entity"


def class_name(task: PlannedTask, index: int) -> str:
    """Return the name of a class, or its number if the plan has no names."""
    return task.labels[index] if 0 <= index < len(task.labels) else str(index)


def truncate(text: str, most: int) -> str:
    """Return the text, cut to `most` characters with ``…`` at the end."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _confusion(task: PlannedTask, gold: NDArray[Any], predicted: NDArray[Any]) -> list[list[int]] | None:
    if task.kind != "classification" or not len(gold):
        return None
    classes = max(len(task.labels), int(max(gold.max(), predicted.max())) + 1)
    if classes > MAX_CLASSES:
        return None
    counts = np.zeros((classes, classes), dtype=int)
    np.add.at(counts, (gold.astype(int), predicted.astype(int)), 1)
    matrix: list[list[int]] = counts.tolist()
    return matrix
