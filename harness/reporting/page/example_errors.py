"""What a model got wrong: how often, what it took for what, and the examples that it was surest of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.analysis.prediction_tables import Table
from harness.metrics.squad_matching import match, match_or_none
from harness.storage.records import PlannedTask

MAX_CLASSES = 20
"""With more of them, a confusion matrix could not be read."""

MAX_ANSWER_LENGTH = 200
"""Characters of an answer text that are shown."""


@dataclass(frozen=True)
class WrongExample:
    """One of the examples shown: `at` is its row in the predictions; the rest are texts as they are to be read."""

    at: int
    gold: str
    predicted: str
    teacher: str | None
    differs: bool
    size: float


@dataclass(frozen=True)
class Errors:
    """Of one model on one task.

    `wrong` is how many of `examples` are not right (None for regression, where none is exactly), and `differs` how many
    of these a teacher answers otherwise (None without a teacher). `confusion` is [gold][predicted].
    """

    examples: int
    wrong: int | None
    differs: int | None
    shown: Sequence[WrongExample]
    confusion: Sequence[Sequence[int]] | None = None


def errors(
    task: PlannedTask, own: Table, teacher: Table | None, most: int, *, exact: float | None = None
) -> Errors | None:
    """What `own` has wrong, at most `most` examples of it, beside what a teacher says of the same ones. `exact` is the
    record's share of exact answers in percent, if it has one.

    The worst come first: classes that the model was surest of; of answer texts those that share the fewest words with
    a right one, then the surest; the largest residuals of a regression. Half of the places are for examples that the
    teacher answers otherwise, as far as there are some. None where the labels are hidden.
    """
    gold, predicted = own.column("label"), own.column("prediction")
    if task.kind == "classification" and len(gold) and gold.min() < 0:
        return None
    other = teacher.column("prediction") if teacher is not None and own.same_examples(teacher) else None
    sizes = _SIZES[task.kind](gold, predicted, own.scores(), exact)
    wrong = np.flatnonzero(sizes > 0)
    differs = np.zeros(len(gold), bool) if other is None else _differs(task, predicted, other)
    order = wrong[np.argsort(-sizes[wrong], kind="stable")]
    show = _Shown(task)
    return Errors(
        examples=len(gold),
        wrong=None if task.kind == "regression" else len(wrong),
        differs=None if other is None else int(differs[wrong].sum()),
        shown=[
            WrongExample(
                int(at),
                show(gold[at]),
                show(predicted[at]),
                None if other is None else show(other[at]),
                bool(differs[at]),
                float(sizes[at]),
            )
            for at in _chosen(order, differs, most)
        ],
        confusion=_confusion(task, gold, predicted),
    )


def _chosen(order: NDArray[Any], differs: NDArray[np.bool_], most: int) -> list[int]:
    """The first of `order`, half of them such as differ, in the same order."""
    apart = [at for at in order if differs[at]][: most // 2]
    rest = [at for at in order if at not in set(apart)][: most - len(apart)]
    chosen = {*apart, *rest}
    return [at for at in order if at in chosen]


def _differs(task: PlannedTask, one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether two models answer otherwise; two numbers do if they are more than a tenth of the spread apart."""
    if task.kind == "regression":
        apart: NDArray[np.bool_] = np.abs(one - other) > 0.1 * (float(np.std(other)) or 1.0)
        return apart
    return np.array([a != b for a, b in zip(one, other, strict=True)], dtype=bool)


def _wrong_classes(
    gold: NDArray[Any], predicted: NDArray[Any], scores: list[Any] | None, exact: float | None
) -> NDArray[np.float64]:
    """0 of what is right, else the probability of the wrong class (1 where no scores are kept)."""
    wrong = np.asarray(gold != predicted, dtype=float)
    if scores is None or not len(gold):
        return wrong
    logits = np.stack(scores).astype(float)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    sure: NDArray[np.float64] = wrong * odds.max(axis=1) / odds.sum(axis=1)
    return sure


def _wrong_texts(
    gold: NDArray[Any], predicted: NDArray[Any], scores: list[Any] | None, exact: float | None
) -> NDArray[np.float64]:
    """0 of an exact match; else 1 to 2 for the words that are missing, and a little for a span that was sure."""
    found = np.zeros(len(gold))
    for at, (right, f1) in enumerate(_matches(gold, predicted, exact)):
        if not right:
            margin = 0.0 if scores is None else float(np.tanh((scores[at][0] - scores[at][1]) / 20))
            found[at] = 1 + (1 - f1) + 1e-3 * (1 + margin)
    return found


def _matches(gold: NDArray[Any], predicted: NDArray[Any], exact: float | None) -> list[tuple[float, float]]:
    """Exact match and F1 of each answer, as the version of SQuAD has them that gives the record's `exact`; where
    neither does, as version 2 if some question has no answer."""
    ways = (match, match_or_none) if all(len(right) for right in gold) else (match_or_none, match)
    found = []
    for way in ways:
        found.append([way(text, list(right)) for text, right in zip(predicted, gold, strict=True)])
        if exact is None or np.isclose(100 * np.mean([right for right, _ in found[-1]]), exact, rtol=1e-6):
            return found[-1]
    return found[0]


def _residuals(
    gold: NDArray[Any], predicted: NDArray[Any], scores: list[Any] | None, exact: float | None
) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.abs(np.asarray(predicted, float) - np.asarray(gold, float))
    return found


_SIZES: dict[str, Callable[[NDArray[Any], NDArray[Any], list[Any] | None, float | None], NDArray[np.float64]]] = {
    "classification": _wrong_classes,
    "qa": _wrong_texts,
    "regression": _residuals,
}


class _Shown:
    """An answer as text."""

    def __init__(self, task: PlannedTask) -> None:
        self.task = task

    def __call__(self, value: Any) -> str:
        if self.task.kind == "classification":
            return class_name(self.task, int(value))
        if self.task.kind == "regression":
            return f"{float(value):.2f}"
        texts = [value] if isinstance(value, str) else list(dict.fromkeys(value))
        return truncate(" / ".join(text or "no answer" for text in texts or [""]), MAX_ANSWER_LENGTH)


def class_name(task: PlannedTask, index: int) -> str:
    """Its name, or its number where the plan has none."""
    return task.labels[index] if 0 <= index < len(task.labels) else str(index)


def truncate(text: str, most: int) -> str:
    """The text, or its beginning with ``…``."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _confusion(task: PlannedTask, gold: NDArray[Any], predicted: NDArray[Any]) -> list[list[int]] | None:
    if task.kind != "classification" or not len(gold):
        return None
    classes = max(len(task.labels), int(max(gold.max(), predicted.max())) + 1)
    if classes > MAX_CLASSES:
        return None
    counts = np.zeros((classes, classes), dtype=int)
    np.add.at(counts, (gold.astype(int), predicted.astype(int)), 1)
    return [[int(n) for n in row] for row in counts]
