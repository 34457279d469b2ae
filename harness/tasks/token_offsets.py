"""Where in its example's text a token stands: by this, tokens of two tokenizers find each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

NOWHERE = -1000
"""Sentence, begin and end of padding."""


def places_of(tokens: Any, row: int, texts: Sequence[str]) -> NDArray[np.int32]:
    """Of one row of a tokenizer's answer, which holds offsets: int32 [n, 3], a token's sentence, its first character
    and the one after its last.

    Blanks at a token's ends are left out, as byte-level tokenizers differ in whether they count them; a token that is
    blank altogether has no width. Sentences are 0 and 1, `texts` in their order. Special tokens stand in sentences of
    their own, as one character: -1 for the first token ([CLS], <s>), then -2, -3, ... for each run of separators, so
    that [SEP] meets both of </s></s>.
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
        places[inside, 1:] = _without_blanks(text, offsets[inside])
    return places


def _without_blanks(text: str, offsets: NDArray[np.int32]) -> NDArray[np.int32]:
    """[n, 2], narrowed to the characters between its outer blanks; of no width where there are none."""
    solid = np.array([not letter.isspace() for letter in text], dtype=np.bool_)
    before = np.concatenate([[0], np.cumsum(solid)])  # solid characters before each place
    where = np.append(np.flatnonzero(solid), len(text))
    begin, end = offsets.T
    blank = before[begin] == before[end]
    first, last = where[before[begin]], where[before[end] - 1]
    return np.stack([np.where(blank, begin, first), np.where(blank, begin, last + 1)], axis=1).astype(np.int32)
