"""Retokenization: a student's rows with the tokenizer of a teacher, row by row.

Used where student and teacher have different tokenizers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from unicodedata import category

import numpy as np
from numpy.typing import NDArray

from harness.api.batch import IGNORED
from harness.tasks.features import CHUNK, DROPPED, TokenRow, sentence_columns, texts_of, word_ids_of
from harness.tasks.offset_checks import refuse_wrong_offsets
from harness.tasks.qa_windows import answer_span
from harness.tasks.token_offsets import token_places
from harness.tasks.tokenization import TokenizedExamples, chunked
from harness.tasks.word_windows import labels_at_first_tokens, words_of_tokens

if TYPE_CHECKING:
    from datasets import Dataset

Span = tuple[int, int]
"""Part of a text: its first character, and the one after its last."""


def retokenize(
    encoded: TokenizedExamples, dataset: Dataset, tokenizer: Any, max_length: int | None
) -> Iterator[TokenizedExamples]:
    """Tokenize the text of each row of `encoded` with another tokenizer, and yield the rows in chunks.

    Row i of the result covers the same characters as row i of `encoded`: for token classification and QA those of its
    window. Labels that refer to tokens refer to the new ones; `places` refer to the complete texts.

    Args:
        encoded: rows that were encoded with ``places=True``.
        dataset: the examples that `encoded` was tokenized from.
        tokenizer: the other tokenizer.
        max_length: maximum number of tokens of a row; the longer sentence is truncated at its end. None: unlimited.

    Raises:
        UserError: the tokenizer's offsets are wrong.
    """
    names = sentence_columns(encoded.kind, dataset)
    refuse_wrong_offsets(dataset, names, tokenizer)
    return chunked(encoded.kind, _rows(encoded, dataset, names, tokenizer, max_length))


def _rows(
    encoded: TokenizedExamples, dataset: Dataset, names: Sequence[str], tokenizer: Any, max_length: int | None
) -> Iterator[TokenRow]:
    assert encoded.places is not None
    for first in range(0, len(encoded), CHUNK):
        rows = range(first, min(first + CHUNK, len(encoded)))
        examples = dataset[encoded.examples[first : rows.stop].tolist()]
        complete = [list(texts_of(examples[name])) for name in names]
        spans = [
            [_covered_span(text, encoded.places[row], sentence) for row, text in zip(rows, texts, strict=True)]
            for sentence, texts in enumerate(complete)
        ]
        texts = [
            [text[begin:end] for text, (begin, end) in zip(column, column_spans, strict=True)]
            for column, column_spans in zip(complete, spans, strict=True)
        ]
        tokens = tokenizer(
            *texts, truncation=max_length is not None, max_length=max_length, return_offsets_mapping=True, verbose=False
        )
        for index, row in enumerate(rows):
            places = token_places(tokens, index, [column[index] for column in texts])
            for sentence, column in enumerate(spans):
                places[places[:, 0] == sentence, 1:] += column[index][0]
            yield _row(encoded, row, tokens, index, places, examples)


def _row(
    encoded: TokenizedExamples,
    row: int,
    tokens: Any,
    index: int,
    places: NDArray[np.int32],
    examples: Mapping[str, Sequence[Any]],
) -> TokenRow:
    types = tokens.get("token_type_ids")
    label, answer_mask, word_ids = encoded.labels[row], None, word_ids_of(tokens, index)
    if encoded.kind == "token_classification":
        labelled = np.flatnonzero(label != IGNORED)
        tags = dict(zip(encoded.word_ids[row][labelled].tolist(), label[labelled].tolist(), strict=True))
        new_word_ids = words_of_tokens(examples["tokens"][index], places)
        label, word_ids = labels_at_first_tokens(new_word_ids, places, tags), new_word_ids.tolist()
    if encoded.kind == "qa":
        in_context = places[:, 0] == 1
        label = answer_span(examples["answers"][index], in_context, places[:, 1:])
        answer_mask = in_context
        answer_mask[0] = True  # [CLS]: no answer in this window
    return TokenRow(
        id=encoded.ids[row],
        example=int(encoded.examples[row]),
        input_ids=tokens["input_ids"][index],
        token_type_ids=types and types[index],
        word_ids=word_ids,
        label=label,
        answer_mask=answer_mask,
        places=places,
    )


def _covered_span(text: str, places: NDArray[np.int32], sentence: int) -> Span:
    """Return the part of `text` that a row covers, from its first token to its last.

    White space before the first token is included, since byte-level tokenizers mark the start of a word by it. So are
    characters that the row's tokenizer may have dropped at the start of the text and after the last token.
    """
    in_sentence = places[places[:, 0] == sentence]
    if not len(in_sentence):
        return 0, 0
    begin, end = int(in_sentence[:, 1].min()), int(in_sentence[:, 2].max())
    while begin > 0 and text[begin - 1].isspace():
        begin -= 1
    if all(category(letter) in DROPPED for letter in text[:begin]):
        begin = 0
    while end < len(text) and category(text[end]) in DROPPED:
        end += 1
    return begin, end
