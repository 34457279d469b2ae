"""Unlabelled text for the text stage: loading, sampling and tokenization."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.api.errors import UserError
from harness.config.paths import text_files
from harness.config.text_stage_schema import GeneralSpec
from harness.tasks.data_sources import get_split, load_source
from harness.tasks.features import CHUNK, TokenRow, word_ids_of
from harness.tasks.fingerprints import fingerprint
from harness.tasks.tokenization import TokenizedExamples, chunked

if TYPE_CHECKING:
    from datasets import Dataset

COLUMN = "text"


@dataclass(frozen=True)
class TextCorpus:
    """Sampled texts in training order: a `Dataset` with the column ``text``, and its fingerprint."""

    texts: Dataset
    fingerprint: str


def load_text(spec: GeneralSpec, source: str) -> TextCorpus:
    """Load the texts of a text stage: a sample of ``steps * batch_size`` non-blank texts, drawn with the stage's seed.

    Args:
        spec: the key ``general`` of a suite.
        source: a hub id, a folder in the hub's layout, or a path of .txt files, which may contain wildcards.

    Raises:
        UserError: the data set, split or column does not exist, or the column has no text.
    """
    if source.endswith(".txt"):
        dataset, column = _lines(text_files(source)), COLUMN
    else:
        dataset, column = _column(spec, source), spec.column
    sample = _sample(dataset, column, spec.seed, spec.steps * spec.batch_size)
    if not sample:
        raise UserError(f"general.data: no text in {source} (column {column!r})")
    texts = dataset.select_columns([column])
    if column != COLUMN:
        texts = texts.rename_column(column, COLUMN)
    texts = texts.select(sample)
    return TextCorpus(texts, fingerprint(texts))


def encode_text(text: TextCorpus, tokenizer: Any, max_length: int, rows: int) -> Iterator[TokenizedExamples]:
    """Tokenize the texts into at most `rows` rows of at most `max_length` tokens, and yield them in chunks.

    A longer text is split into several rows. Every row has its special tokens and at least one other token.
    """
    return chunked("text", islice(_rows(text, tokenizer, max_length), rows))


def _rows(text: TextCorpus, tokenizer: Any, max_length: int) -> Iterator[TokenRow]:
    number = -1
    for first in range(0, len(text.texts), CHUNK):
        texts = text.texts[first : first + CHUNK][COLUMN]
        tokens = tokenizer(texts, truncation=True, max_length=max_length, return_overflowing_tokens=True)
        types = tokens.get("token_type_ids")
        for row, example in enumerate(tokens["overflow_to_sample_mapping"]):
            word_ids = word_ids_of(tokens, row)
            if max(word_ids) >= 0:  # a row of special tokens alone has nothing to learn from
                number += 1
                yield TokenRow(
                    id=f"{first + example}#{number}",
                    example=first + example,
                    input_ids=tokens["input_ids"][row],
                    token_type_ids=types and types[row],
                    word_ids=word_ids,
                    label=0,
                )


def _lines(files: list[str]) -> Dataset:
    """Return a data set with one text for each line of the files."""
    from datasets import Dataset

    lines: list[str] = []
    for file in files:
        try:
            lines += Path(file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"general.data: {file} cannot be read as UTF-8 text: {error}") from error
    return Dataset.from_dict({COLUMN: lines})


def _column(spec: GeneralSpec, source: str) -> Dataset:
    data = get_split(load_source(source, spec.name), spec.split, [spec.column], f"general.data: {source}")
    feature = data.features[spec.column]
    if getattr(feature, "dtype", None) not in ("string", "large_string"):
        raise UserError(f"general.column: column {spec.column!r} of {source} has type {feature}, expected text")
    return data


def _sample(dataset: Dataset, column: str, seed: int, count: int) -> list[int]:
    """Return the indices of the first `count` non-blank texts of a permutation that depends on the seed alone."""
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(dataset))
    sample: list[int] = []
    for first in range(0, len(order), CHUNK):
        indices = order[first : first + CHUNK].tolist()
        texts = dataset[indices][column]
        sample += [index for index, text in zip(indices, texts, strict=True) if text and text.strip()]
        if len(sample) >= count:
            break
    return sample[:count]
