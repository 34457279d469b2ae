"""Token classification: the predicted tag of each word, from the logits at the first token of each word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.api.batch import IGNORED

if TYPE_CHECKING:
    from harness.tasks.tokenization import TokenizedExamples

OUTSIDE = "O"
"""The tag of words outside of entities."""


def predicted_tags(
    encoded: TokenizedExamples, logits: Sequence[NDArray[np.floating[Any]]], tags: Sequence[str], words: Sequence[int]
) -> tuple[list[list[str]], list[list[float]]]:
    """Return the predicted tags of each example, one for each word, and their probabilities.

    A word without a token, because the tokenizer drops its characters, gets "O" (without such a tag the first) with
    probability 0.

    Args:
        encoded: the tokenized rows.
        logits: [n, C] for each row of `encoded`.
        tags: the names of the classes.
        words: the number of words of each example.
    """
    default = OUTSIDE if OUTSIDE in tags else tags[0]
    predictions = [[default] * count for count in words]
    probabilities = [[0.0] * count for count in words]
    for row, example in enumerate(encoded.examples.tolist()):
        labelled = np.flatnonzero(np.asarray(encoded.labels[row]) != IGNORED)
        values = np.asarray(logits[row], dtype=np.float64)[labelled]
        odds = np.exp(values - values.max(-1, keepdims=True))
        best, confidence = values.argmax(-1), odds.max(-1) / odds.sum(-1)
        for word, index, p in zip(encoded.word_ids[row][labelled], best, confidence, strict=True):
            predictions[example][word], probabilities[example][word] = tags[index], float(p)
    return predictions, probabilities
