"""One row of tokens: an example, or a window of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK = 1000
"""Examples that are handed to the tokenizer at once."""

DROPPED = ("Mn", "Me", "Cf", "Cc", "Zs", "Zl", "Zp")
"""Categories of characters (marks, controls, white space) that some tokenizers leave out of all tokens."""


@dataclass(frozen=True)
class Row:
    """One tokenised example, or one window of it; see `TokenizedExamples`, which holds the columns of these rows."""

    id: str
    example: int
    input_ids: list[int]
    token_type_ids: list[int] | None
    word_ids: list[int]
    label: float | tuple[int, int]
    answer_mask: NDArray[np.bool_] | None = None
    offsets: NDArray[np.int32] | None = None
    places: NDArray[np.int32] | None = None


def words_of(tokens: Any, row: int) -> list[int]:
    """The `word_ids` of one row of a tokenizer's answer, -1 for special tokens."""
    return [-1 if word is None else word for word in tokens.word_ids(row)]
