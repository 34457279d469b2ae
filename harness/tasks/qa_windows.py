"""Extractive QA: windows that slide over a context which is too long for the model."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.tasks.features import CHUNK, DROPPED, Row, words_of
from harness.tasks.token_offsets import places_of

if TYPE_CHECKING:
    from datasets import Dataset

MAX_QUESTION = 64
"""Most tokens of a question, and never more than half of what `max_length` leaves for text."""
OVERLAP = 128
"""Most tokens that neighbouring windows share, and never more than half of the shortest window."""


def windows(dataset: Dataset, tokenizer: Any, max_length: int, *, places: bool = False) -> Iterator[Row]:
    """Question and a part of the context, row by row, so that every token of the context is in some row."""
    room = max_length - tokenizer.num_special_tokens_to_add(pair=True)
    question_room = min(MAX_QUESTION, room // 2)
    overlap = min(OVERLAP, (room - question_room) // 2)
    for first in range(0, len(dataset), CHUNK):
        chunk = dataset[first : first + CHUNK]
        tokens = tokenizer(
            _cut(chunk["question"], tokenizer, question_room),
            chunk["context"],
            truncation="only_second",
            max_length=max_length,
            stride=overlap,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        yield from _rows(chunk, tokens, first, places=places)


def _rows(chunk: Mapping[str, Sequence[Any]], tokens: Any, first: int, *, places: bool) -> Iterator[Row]:
    types = tokens.get("token_type_ids")
    window = -1
    previous = -1
    for index, example in enumerate(tokens["overflow_to_sample_mapping"]):
        window = window + 1 if example == previous else 0
        previous = example
        in_context = np.array([sequence == 1 for sequence in tokens.sequence_ids(index)])
        offsets = np.where(in_context[:, None], np.array(tokens["offset_mapping"][index]), 0).astype(np.int32)
        answer_mask = in_context.copy()
        answer_mask[0] = True  # [CLS]: no answer in this window
        yield Row(
            id=f"{chunk['id'][example]}#{window}",
            example=first + example,
            input_ids=tokens["input_ids"][index],
            token_type_ids=types and types[index],
            word_ids=words_of(tokens, index),
            label=answer_span(chunk["answers"][example], in_context, offsets),
            answer_mask=answer_mask,
            offsets=offsets,
            places=places_of(tokens, index, _texts(chunk, example)) if places else None,
        )


def _texts(chunk: Mapping[str, Sequence[Any]], example: int) -> list[str]:
    return [chunk[name][example] for name in ("question", "context")]


def answer_span(
    answers: Sequence[Mapping[str, Any]], in_context: NDArray[np.bool_], offsets: NDArray[np.int32]
) -> tuple[int, int]:
    """First and last token of the first answer; (0, 0) where it is not wholly in the window."""
    tokens = np.flatnonzero(in_context)
    if not answers or not len(tokens):
        return 0, 0
    start, text = answers[0]["start"], answers[0]["text"]
    inside = tokens[(offsets[tokens, 1] > start) & (offsets[tokens, 0] < start + len(text))]
    kept = [place for place, letter in enumerate(text, start) if unicodedata.category(letter) not in DROPPED]
    whole = len(inside) and kept and offsets[tokens[0], 0] <= kept[0] and offsets[tokens[-1], 1] > kept[-1]
    return (int(inside[0]), int(inside[-1])) if whole else (0, 0)


def _cut(questions: Sequence[str], tokenizer: Any, room: int) -> list[str]:
    """The beginnings of `questions` that take no more than `room` tokens each."""
    cut = list(questions)
    long = list(range(len(cut)))
    while long:  # a cut word may break into more tokens than it had: look again
        texts = [cut[index] for index in long]
        tokens = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        offsets = dict(zip(long, tokens["offset_mapping"], strict=True))
        long = [index for index in long if len(offsets[index]) > room]
        for index in long:
            cut[index] = cut[index][: min(offsets[index][room - 1][1], len(cut[index]) - 1)]
    return cut
