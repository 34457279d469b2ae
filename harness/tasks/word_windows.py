"""Tokenization of token classification: labels at the first token of each word, long texts in overlapping windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.api.batch import IGNORED
from harness.tasks.features import CHUNK, TokenRow, texts_of, word_ids_of
from harness.tasks.token_offsets import token_places

if TYPE_CHECKING:
    from datasets import Dataset

OVERLAP = 128
"""Maximum overlap of neighbouring windows, in tokens; never more than half of a window."""

Ints = NDArray[np.int64]


def windows(dataset: Dataset, tokenizer: Any, max_length: int, *, places: bool = False) -> Iterator[TokenRow]:
    """Yield one row for each window over the words of an example, joined by blanks.

    Each word is labelled in one row: where its first token has the most context. A word without a token, because the
    tokenizer drops its characters, is labelled in none.

    Args:
        dataset: examples with the columns ``id``, ``tokens`` and ``tags``. ``tokens`` may be texts instead of words,
            which then are those that the tokenizer finds.
        max_length: maximum number of tokens of a row, including special tokens.
        places: whether rows have `places`, see `harness.tasks.token_offsets`.
    """
    for first in range(0, len(dataset), CHUNK):
        chunk = dataset[first : first + CHUNK]
        texts = list(texts_of(chunk["tokens"]))
        tokens = tokenizer(texts, return_offsets_mapping=True, verbose=False)  # not truncated
        types = tokens.get("token_type_ids")
        for index, (id, words, tags) in enumerate(zip(chunk["id"], chunk["tokens"], chunk["tags"], strict=True)):
            where = token_places(tokens, index, [texts[index]])
            known = not isinstance(words, str)
            word_ids = words_of_tokens(words, where) if known else np.array(word_ids_of(tokens, index), dtype=np.int64)
            labels = labels_at_first_tokens(word_ids, where, dict(enumerate(tags)))
            for number, (kept, owned) in enumerate(_parts(word_ids, max_length)):
                yield TokenRow(
                    id=f"{id}#{number}",
                    example=first + index,
                    input_ids=np.array(tokens["input_ids"][index])[kept].tolist(),
                    token_type_ids=types and np.array(types[index])[kept].tolist(),
                    word_ids=word_ids[kept].tolist(),
                    label=np.where(owned, labels, IGNORED)[kept],
                    places=where[kept] if places else None,
                )


def words_of_tokens(words: Sequence[str], places: NDArray[np.int32]) -> Ints:
    """Return the index of each token's word, int64 [n], -1 for special tokens.

    Args:
        words: the words of the text, which is joined by blanks.
        places: int32 [n, 3], the tokens' `places` in that text.
    """
    starts = [0, *accumulate(len(word) + 1 for word in words)][: len(words)]
    indices = np.searchsorted(starts, places[:, 1], side="right") - 1
    return np.where(places[:, 0] == 0, indices, -1).astype(np.int64)


def labels_at_first_tokens(word_ids: Ints, places: NDArray[np.int32], tags: dict[int, int]) -> Ints:
    """Return the label of each token, int64 [n]: a word's tag at its first token that is not blank, else `IGNORED`.

    Args:
        word_ids: int64 [n], see `words_of_tokens`.
        places: int32 [n, 3], the tokens' `places`.
        tags: index of a word -> its tag; words that are not in it have no label.
    """
    labels = np.full(len(word_ids), IGNORED, dtype=np.int64)
    solid = np.flatnonzero((word_ids >= 0) & (places[:, 2] > places[:, 1]))
    found, firsts = np.unique(word_ids[solid], return_index=True)
    labels[solid[firsts]] = [tags.get(word, IGNORED) for word in found.tolist()]
    return labels


def _parts(word_ids: Ints, max_length: int) -> Iterator[tuple[Ints, NDArray[np.bool_]]]:
    """Yield for each window the indices of its tokens, and whether it owns each token of the text, bool [n].

    Every token that is not special is owned by one window. Neighbouring windows divide their overlap in the middle.
    """
    special = word_ids < 0
    text = np.flatnonzero(~special)
    first, end = (int(text[0]), int(text[-1]) + 1) if len(text) else (len(word_ids), len(word_ids))
    length = max(1, max_length - int(special.sum()))
    overlap = min(OVERLAP, length // 2)
    position = np.arange(len(word_ids))
    begin = owned_from = first
    while True:
        last = begin + length >= end
        owned_to = end if last else begin + length - (overlap + 1) // 2
        inside = (position >= begin) & (position < begin + length)
        yield np.flatnonzero(special | inside), (position >= owned_from) & (position < owned_to)
        if last:
            return
        begin, owned_from = begin + length - overlap, owned_to
