"""Extractive QA: the answer that a model's start and end logits point to, over all windows of a question."""

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
"""Tokens."""
N_BEST = 20
"""Candidates of each question, the first of which that is not blank is the answer."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Span:
    """The best answer to one question.

    `score` is the sum of its start and end logits, `null_score` that of [CLS] in the window that is surest of an
    answer. `text` is empty only where there is nothing to answer with, or where a better [CLS] may say so.
    """

    text: str
    score: float
    null_score: float


def best_spans(
    examples: Dataset, encoded: TokenizedExamples, logits: Sequence[NDArray[np.floating[Any]]], *, unanswerable: bool
) -> list[Span]:
    """One `Span` for each example; logits are [2, n] for each row of `encoded`.

    If questions may be `unanswerable`, "" is the answer of every example whose null score is higher than its best
    span's: a threshold of 0. SQuAD 2.0's script also tells the best threshold; that one is chosen on the validation
    set, and not used here.
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
    """The best candidate that is not blank, as a token of white space alone is; of equals the first."""
    for score, start, end in sorted(candidates, key=lambda candidate: -candidate[0])[:N_BEST]:
        if text := context[start : _with_marks(context, end)].strip():
            return Span(text, score, null_score)
    return Span("", -np.inf, null_score)


def _with_marks(context: str, end: int) -> int:
    """`end`, moved behind the marks (accents) of its last letter, which tokenizers that strip accents do not count."""
    while end < len(context) and unicodedata.category(context[end]) in ("Mn", "Me"):
        end += 1
    return end


def _candidates(start: Floats, end: Floats, tokens: NDArray[np.int64]) -> list[tuple[float, int, int]]:
    """(score, first, last) of the window's best spans over `tokens`, those of its context, which are consecutive."""
    if not len(tokens):
        return []
    ends = np.concatenate([end[tokens], np.full(MAX_ANSWER - 1, -np.inf)])
    scores = start[tokens, None] + np.lib.stride_tricks.sliding_window_view(ends, MAX_ANSWER)
    flat = scores.ravel()  # at [i, k] the span of k + 1 tokens from token i
    wanted = min(N_BEST, len(flat))
    threshold = np.partition(flat, -wanted)[-wanted]
    found = np.flatnonzero((flat >= threshold) & np.isfinite(flat))
    best = found[np.argsort(-flat[found], kind="stable")][:N_BEST]
    return [
        (float(flat[index]), int(tokens[first]), int(tokens[first + more]))
        for index, first, more in zip(best, *np.unravel_index(best, scores.shape), strict=True)
    ]
