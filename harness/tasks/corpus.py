"""Unlabelled text: what general stages read, before any task."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.api.errors import UserError
from harness.api.task import Splits, Task
from harness.config.paths import text_files
from harness.config.schema import GeneralSpec
from harness.tasks.data_sources import get_split, load_source
from harness.tasks.features import CHUNK, Row, words_of
from harness.tasks.fingerprints import fingerprint
from harness.tasks.tokenization import TokenizedExamples, chunked

if TYPE_CHECKING:
    from datasets import Dataset

COLUMN = "text"


def _no_splits(source: str | None) -> Splits:
    raise TypeError("unlabelled text has no splits of a task")


TEXT_TASK = Task(COLUMN, "text", _no_splits, metrics=(), score="")
"""What stands for a task where models are made: their head predicts tokens."""


@dataclass(frozen=True)
class TextCorpus:
    """Texts in the order in which they are read: a `Dataset` of one column, and its fingerprint."""

    texts: Dataset
    fingerprint: str


def load_text(spec: GeneralSpec, place: str) -> TextCorpus:
    """The texts that the general stage `spec` can get to see, none of them blank: those that its seed draws first.

    Args:
        place: a hub id, a folder in the hub's layout, or a path of .txt files, which may hold wildcards.

    Raises:
        UserError: there is no such data set, split or column, or no text in it.
    """
    if place.endswith(".txt"):
        every, column = _lines(text_files(place)), COLUMN
    else:
        every, column = _column(spec, place), spec.column
    chosen = _drawn(every, column, spec.seed, spec.steps * spec.batch_size)
    if not chosen:
        raise UserError(f"general.data: {place} holds no text (column {column!r})")
    texts = (
        every.select_columns([column]).rename_column(column, COLUMN)
        if column != COLUMN
        else every.select_columns([COLUMN])
    )
    texts = texts.select(chosen)
    return TextCorpus(texts, fingerprint(texts))


def encode_text(text: TextCorpus, tokenizer: Any, max_length: int, rows: int) -> Iterator[TokenizedExamples]:
    """The texts as rows of at most `max_length` tokens, part by part: a longer one makes several. No more than `rows`
    of them.

    Every row holds a token beside the special ones, and every row has its special tokens.
    """
    return chunked("text", islice(_rows(text, tokenizer, max_length), rows))


def _rows(text: TextCorpus, tokenizer: Any, max_length: int) -> Iterator[Row]:
    count = -1
    for first in range(0, len(text.texts), CHUNK):
        texts = text.texts[first : first + CHUNK][COLUMN]
        tokens = tokenizer(texts, truncation=True, max_length=max_length, return_overflowing_tokens=True)
        types = tokens.get("token_type_ids")
        for row, example in enumerate(tokens["overflow_to_sample_mapping"]):
            words = words_of(tokens, row)
            if max(words) >= 0:
                count += 1
                yield Row(
                    id=f"{first + example}#{count}",
                    example=first + example,
                    input_ids=tokens["input_ids"][row],
                    token_type_ids=types and types[row],
                    word_ids=words,
                    label=0,
                )


def _lines(files: list[str]) -> Dataset:
    """One text for each line."""
    from datasets import Dataset

    lines: list[str] = []
    for file in files:
        try:
            lines += Path(file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"general.data: {file} cannot be read as UTF-8 text: {error}") from error
    return Dataset.from_dict({COLUMN: lines})


def _column(spec: GeneralSpec, place: str) -> Dataset:
    data = get_split(load_source(place, spec.name), spec.split, [spec.column], f"general.data: {place}")
    found = data.features[spec.column]
    if getattr(found, "dtype", None) not in ("string", "large_string"):
        raise UserError(f"general.column: {spec.column!r} of {place} holds {found}, not text")
    return data


def _drawn(dataset: Dataset, column: str, seed: int, count: int) -> list[int]:
    """The numbers of the first `count` texts that are not blank, in an order that depends on the seed alone."""
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(dataset))
    chosen: list[int] = []
    for first in range(0, len(order), CHUNK):
        part = order[first : first + CHUNK].tolist()
        texts = dataset[part][column]
        chosen += [index for index, text in zip(part, texts, strict=True) if text and text.strip()]
        if len(chosen) >= count:
            break
    return chosen[:count]
