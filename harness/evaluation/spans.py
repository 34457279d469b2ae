"""Extractive QA: the answer that a model's start and end logits point to, over all windows of a question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.tasks.encode import Encoded

MAX_ANSWER = 30
"""Tokens."""


@dataclass(frozen=True)
class Span:
    """The best answer to one question.

    `score` is the sum of its start and end logits, `null_score` that of [CLS] in the window that is surest of an
    answer. `text` is empty only where there is no token to answer with, or where a better [CLS] may say so.
    """

    text: str
    score: float
    null_score: float


def best_spans(examples: Dataset, encoded: Encoded, logits: Sequence[NDArray[np.floating[Any]]]) -> list[Span]:
    """One `Span` for each example; logits are [2, n] for each row of `encoded`.

    Where the data set has a question without an answer, "" is the answer of every example whose null score is higher
    than its best span's; SQuAD's script tunes that threshold on the validation set, and we do not.
    """
    assert encoded.offsets is not None
    assert encoded.answer_mask is not None
    contexts = examples["context"][:]
    unanswerable = not all(examples["answers"])
    spans = [Span("", -np.inf, np.inf) for _ in contexts]
    for row, example in enumerate(encoded.examples):
        start, end = np.asarray(logits[row], dtype=np.float64)
        null_score = min(spans[example].null_score, float(start[0] + end[0]))
        first, last, score = _best(start, end, encoded.answer_mask[row])
        best = spans[example]
        if score > best.score:
            offsets = encoded.offsets[row]
            best = Span(contexts[example][offsets[first, 0] : offsets[last, 1]], score, null_score)
        spans[example] = Span(best.text, best.score, null_score)
    return [Span("", s.score, s.null_score) if unanswerable and s.null_score > s.score else s for s in spans]


def _best(start: NDArray[np.float64], end: NDArray[np.float64], mask: NDArray[np.bool_]) -> tuple[int, int, float]:
    """First and last token of the span of the highest score that lies in the context; (0, 0, -inf) if it is empty."""
    tokens = np.flatnonzero(mask)[1:]  # without [CLS]
    if not len(tokens):
        return 0, 0, -np.inf
    scores = start[tokens, None] + end[None, tokens]
    scores[~_shape(len(tokens))] = -np.inf
    first, last = np.unravel_index(scores.argmax(), scores.shape)
    return int(tokens[first]), int(tokens[last]), float(scores[first, last])


def _shape(size: int) -> NDArray[np.bool_]:
    """[size, size]: where a span from row to column runs forward and is not too long."""
    length = np.arange(size)[None, :] - np.arange(size)[:, None]
    return (length >= 0) & (length < MAX_ANSWER)
