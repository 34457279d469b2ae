"""Extractive QA: the best answer span of a question, from the start and end logits of all its windows."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.tasks.tokenization import TokenizedExamples

MAX_ANSWER = 30
"""Maximum number of tokens of an answer."""

N_BEST = 20
"""Number of candidates of each question; the best one that is not blank is the answer."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Span:
    """The best answer to one question.

    Attributes:
        text: the answer; empty if there is no candidate, or if no answer is allowed and has the higher score.
        score: sum of the start and end logit of the best span.
        null_score: minimum over the windows of the sum of the logits of [CLS].
    """

    text: str
    score: float
    null_score: float


def best_spans(
    examples: Dataset, encoded: TokenizedExamples, logits: Sequence[NDArray[np.floating[Any]]], *, unanswerable: bool
) -> list[Span]:
    """Return the best span of each example.

    Args:
        examples: the split.
        encoded: its tokenized rows.
        logits: start and end logits, [2, n] for each row of `encoded`.
        unanswerable: whether "" is the answer if the null score is higher than the score of the best span (threshold
            0). The best threshold that SQuAD 2.0's script reports is not used, since it is chosen on the validation
            split.
    """
    assert encoded.offsets is not None
    assert encoded.answer_mask is not None
    contexts = examples["context"][:]
    candidates: list[list[tuple[float, int, int]]] = [[] for _ in contexts]
    nulls = [np.inf] * len(contexts)
    for row, example in enumerate(encoded.examples):
        start, end = np.asarray(logits[row], dtype=np.float64)
        nulls[example] = min(nulls[example], float(start[0] + end[0]))
        offsets = encoded.offsets[row]
        candidates[example] += [
            (score, int(offsets[first, 0]), int(offsets[last, 1]))
            for score, first, last in _candidates(start, end, np.flatnonzero(encoded.answer_mask[row])[1:])
        ]
    best = [_answer(*question) for question in zip(contexts, candidates, nulls, strict=True)]
    return [Span("", s.score, s.null_score) if unanswerable and s.null_score > s.score else s for s in best]


def _answer(context: str, candidates: list[tuple[float, int, int]], null_score: float) -> Span:
    """Return the best candidate that is not blank; the first of equal ones."""
    for score, start, end in sorted(candidates, key=lambda candidate: -candidate[0])[:N_BEST]:
        if text := context[start : _with_marks(context, end)].strip():
            return Span(text, score, null_score)
    return Span("", -np.inf, null_score)


def _with_marks(context: str, end: int) -> int:
    """Move `end` past combining marks, which are not part of the offsets of tokenizers that strip accents."""
    while end < len(context) and unicodedata.category(context[end]) in ("Mn", "Me"):
        end += 1
    return end


def _candidates(start: Floats, end: Floats, tokens: NDArray[np.int64]) -> list[tuple[float, int, int]]:
    """Return (score, first, last) of a window's best spans. `tokens` are the consecutive tokens of its context."""
    if not len(tokens):
        return []
    ends = np.concatenate([end[tokens], np.full(MAX_ANSWER - 1, -np.inf)])
    scores = start[tokens, None] + np.lib.stride_tricks.sliding_window_view(ends, MAX_ANSWER)
    flat = scores.ravel()  # scores[i, k]: the span of k + 1 tokens from token i
    count = min(N_BEST, len(flat))
    threshold = np.partition(flat, -count)[-count]
    top = np.flatnonzero((flat >= threshold) & np.isfinite(flat))
    best = top[np.argsort(-flat[top], kind="stable")][:N_BEST]
    return [
        (float(flat[index]), int(tokens[first]), int(tokens[first + extra]))
        for index, first, extra in zip(best, *np.unravel_index(best, scores.shape), strict=True)
    ]
