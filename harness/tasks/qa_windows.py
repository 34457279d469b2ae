"""Tokenization of extractive QA: overlapping windows over contexts that are too long for the model."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.tasks.features import CHUNK, DROPPED, TokenRow, word_ids_of
from harness.tasks.token_offsets import token_places, without_white_space

if TYPE_CHECKING:
    from datasets import Dataset

MAX_QUESTION = 64
"""Maximum number of tokens of a question; never more than half of the tokens that `max_length` leaves for text."""

OVERLAP = 128
"""Maximum overlap of neighbouring windows, in tokens; never more than half of the shortest window."""


def windows(dataset: Dataset, tokenizer: Any, max_length: int, *, places: bool = False) -> Iterator[TokenRow]:
    """Yield one row for each window: the question and a part of the context. Every token of the context is in a row.

    Args:
        dataset: examples with the columns ``id``, ``question``, ``context`` and ``answers``.
        max_length: maximum number of tokens of a row.
        places: whether rows have `places`, see `harness.tasks.token_offsets`.
    """
    available = max_length - tokenizer.num_special_tokens_to_add(pair=True)
    question_length = min(MAX_QUESTION, available // 2)
    overlap = min(OVERLAP, (available - question_length) // 2)
    for first in range(0, len(dataset), CHUNK):
        chunk = dataset[first : first + CHUNK]
        tokens = tokenizer(
            _truncate(chunk["question"], tokenizer, question_length),
            chunk["context"],
            truncation="only_second",
            max_length=max_length,
            stride=overlap,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        yield from _rows(chunk, tokens, first, places=places)


def _rows(chunk: Mapping[str, Sequence[Any]], tokens: Any, first: int, *, places: bool) -> Iterator[TokenRow]:
    types = tokens.get("token_type_ids")
    window = -1
    previous = -1
    for index, example in enumerate(tokens["overflow_to_sample_mapping"]):
        window = window + 1 if example == previous else 0
        previous = example
        in_context = np.array([sequence == 1 for sequence in tokens.sequence_ids(index)])
        offsets = np.zeros((len(in_context), 2), dtype=np.int32)
        # In a window after the first, a byte-level tokenizer leaves the space before the first word in its offsets.
        in_text = np.array(tokens["offset_mapping"][index], dtype=np.int32)[in_context]
        offsets[in_context] = without_white_space(chunk["context"][example], in_text)
        answer_mask = in_context.copy()
        answer_mask[0] = True  # [CLS]: no answer in this window
        yield TokenRow(
            id=f"{chunk['id'][example]}#{window}",
            example=first + example,
            input_ids=tokens["input_ids"][index],
            token_type_ids=types and types[index],
            word_ids=word_ids_of(tokens, index),
            label=answer_span(chunk["answers"][example], in_context, offsets),
            answer_mask=answer_mask,
            offsets=offsets,
            places=token_places(tokens, index, _texts(chunk, example)) if places else None,
        )


def _texts(chunk: Mapping[str, Sequence[Any]], example: int) -> list[str]:
    return [chunk[name][example] for name in ("question", "context")]


def answer_span(
    answers: Sequence[Mapping[str, Any]], in_context: NDArray[np.bool_], offsets: NDArray[np.int32]
) -> tuple[int, int]:
    """Return the first and last token of the first answer, or (0, 0) if the window does not contain all of it.

    Args:
        answers: of the question, with ``text`` and ``start``.
        in_context: bool [n], the tokens of the context.
        offsets: int32 [n, 2], each token's first character in the context and the one after its last.
    """
    tokens = np.flatnonzero(in_context)
    if not answers or not len(tokens):
        return 0, 0
    start, text = answers[0]["start"], answers[0]["text"]
    inside = tokens[(offsets[tokens, 1] > start) & (offsets[tokens, 0] < start + len(text))]
    solid = [index for index, letter in enumerate(text, start) if unicodedata.category(letter) not in DROPPED]
    complete = len(inside) and solid and offsets[tokens[0], 0] <= solid[0] and offsets[tokens[-1], 1] > solid[-1]
    return (int(inside[0]), int(inside[-1])) if complete else (0, 0)


def _truncate(questions: Sequence[str], tokenizer: Any, max_tokens: int) -> list[str]:
    """Truncate each question to at most `max_tokens` tokens."""
    truncated = list(questions)
    long = list(range(len(truncated)))
    while long:  # repeat, since a truncated word may have more tokens than before
        texts = [truncated[index] for index in long]
        tokens = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        offsets = dict(zip(long, tokens["offset_mapping"], strict=True))
        long = [index for index in long if len(offsets[index]) > max_tokens]
        for index in long:
            truncated[index] = truncated[index][: min(offsets[index][max_tokens - 1][1], len(truncated[index]) - 1)]
    return truncated
