"""Positions of tokens in the text of their example, by which the tokens of two tokenizers are aligned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

NOWHERE = -1000
"""Value of sentence, begin and end for padding."""


def token_places(tokens: Any, row: int, texts: Sequence[str]) -> NDArray[np.int32]:
    """Return int32 [n, 3] for one row of a `BatchEncoding`: a token's sentence, first character, and end (exclusive).

    White space at either end of a token is excluded, since byte-level tokenizers differ in whether they include it; a
    token of white space alone is empty. Sentences are 0 and 1, in the order of `texts`. Special tokens have sentences
    of their own, with the characters 0 to 1: -1 for the first token ([CLS], <s>), then -2, -3, ... for each run of
    separators, so that [SEP] is aligned with both tokens of </s></s>.

    Args:
        tokens: a `BatchEncoding` with offsets.
        row: a row of `tokens`.
        texts: the sentences of the row.
    """
    sentences = np.array([NOWHERE if sentence is None else sentence for sentence in tokens.sequence_ids(row)])
    offsets = np.array(tokens["offset_mapping"][row], dtype=np.int32).reshape(-1, 2)
    special = sentences == NOWHERE
    after_special = np.concatenate([[False], special[:-1]])
    after_special[:2] = False  # the first token is a run of its own
    begins_run = special & ~after_special
    begins_run[:1] = False
    places = np.empty((len(sentences), 3), dtype=np.int32)
    places[:, 0] = np.where(special, -1 - np.cumsum(begins_run), sentences)
    places[special, 1:] = (0, 1)
    for sentence, text in enumerate(texts):
        inside = sentences == sentence
        places[inside, 1:] = without_white_space(text, offsets[inside])
    return places


def without_white_space(text: str, offsets: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the offsets, [n, 2], without white space at either end; empty spans stay where they begin."""
    solid = np.array([not letter.isspace() for letter in text], dtype=np.bool_)
    before = np.concatenate([[0], np.cumsum(solid)])  # [i]: characters before i that are not white space
    solid_indices = np.append(np.flatnonzero(solid), len(text))
    begin, end = offsets.T
    blank = before[begin] == before[end]
    first, last = solid_indices[before[begin]], solid_indices[before[end] - 1]
    return np.stack([np.where(blank, begin, first), np.where(blank, begin, last + 1)], axis=1).astype(np.int32)
