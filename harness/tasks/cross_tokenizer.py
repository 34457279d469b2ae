"""Rows of one tokenizer, read along by another: what a teacher reads while its student has a tokenizer of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from unicodedata import category

import numpy as np
from numpy.typing import NDArray

from harness.tasks.features import CHUNK, DROPPED, Row, words_of
from harness.tasks.offset_checks import refuse_wrong_offsets
from harness.tasks.qa_windows import answer_span
from harness.tasks.token_offsets import places_of
from harness.tasks.tokenization import TokenizedExamples, chunked

if TYPE_CHECKING:
    from datasets import Dataset

Part = tuple[int, int]
"""Of a text: its first character, and the one after its last."""


def retokenize(
    shown: TokenizedExamples, dataset: Dataset, tokenizer: Any, most: int | None
) -> Iterator[TokenizedExamples]:
    """The rows of `shown`, one for one, as `tokenizer` reads what each shows of its texts: for QA the question and the
    window's part of the context. Some after others, to be put together by `concatenate`.

    Nothing that `shown` shows is lost, however many tokens it takes, up to `most` (None: any number), which are what
    the teacher's model takes; beyond them the longer sentence is cut at its end. Labels, of QA in the new tokens, and
    places are those of the whole texts.

    Args:
        shown: encoded with its places.
        dataset: the examples that it was made of.
    """
    candidates = ("question", "context") if shown.kind == "qa" else ("text", "text_pair")
    names = [name for name in candidates if name in dataset.column_names]
    refuse_wrong_offsets(dataset, names, tokenizer)
    return chunked(shown.kind, _rows(shown, dataset, names, tokenizer, most))


def _rows(
    shown: TokenizedExamples, dataset: Dataset, names: Sequence[str], tokenizer: Any, most: int | None
) -> Iterator[Row]:
    assert shown.places is not None
    for first in range(0, len(shown), CHUNK):
        rows = range(first, min(first + CHUNK, len(shown)))
        examples = dataset[shown.examples[first : rows.stop].tolist()]
        parts = [
            [_part(text, shown.places[row], sentence) for row, text in zip(rows, examples[name], strict=True)]
            for sentence, name in enumerate(names)
        ]
        texts = [
            [text[begin:end] for text, (begin, end) in zip(examples[name], part, strict=True)]
            for name, part in zip(names, parts, strict=True)
        ]
        tokens = tokenizer(
            *texts, truncation=most is not None, max_length=most, return_offsets_mapping=True, verbose=False
        )
        for index, row in enumerate(rows):
            places = places_of(tokens, index, [column[index] for column in texts])
            for sentence, part in enumerate(parts):
                places[places[:, 0] == sentence, 1:] += part[index][0]
            yield _row(shown, row, tokens, index, places, examples)


def _row(
    shown: TokenizedExamples,
    row: int,
    tokens: Any,
    index: int,
    places: NDArray[np.int32],
    examples: Mapping[str, Sequence[Any]],
) -> Row:
    types = tokens.get("token_type_ids")
    label, answer_mask = shown.labels[row], None
    if shown.kind == "qa":
        in_context = places[:, 0] == 1
        label = answer_span(examples["answers"][index], in_context, places[:, 1:])
        answer_mask = in_context
        answer_mask[0] = True  # [CLS]: no answer in this window
    return Row(
        id=shown.ids[row],
        example=int(shown.examples[row]),
        input_ids=tokens["input_ids"][index],
        token_type_ids=types and types[index],
        word_ids=words_of(tokens, index),
        label=label,
        answer_mask=answer_mask,
        places=places,
    )


def _part(text: str, places: NDArray[np.int32], sentence: int) -> Part:
    """What the row shows of `text`: from its first token to its last, with the blanks before, which tell byte-level
    tokenizers that a word begins, and with what the row's tokenizer may have left out at the text's beginning and
    after its last token."""
    own = places[places[:, 0] == sentence]
    if not len(own):
        return 0, 0
    begin, end = int(own[:, 1].min()), int(own[:, 2].max())
    while begin > 0 and text[begin - 1].isspace():
        begin -= 1
    if all(category(letter) in DROPPED for letter in text[:begin]):
        begin = 0
    while end < len(text) and category(text[end]) in DROPPED:
        end += 1
    return begin, end
