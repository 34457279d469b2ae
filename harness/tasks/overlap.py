"""Overlap of training and validation data: validation examples whose texts are also in the training split."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from harness.tasks.features import text_columns, texts_of

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.api.task import Splits


def overlap(splits: Splits) -> dict[str, int]:
    """Count the examples of each validation split that have the same texts as a training example.

    All texts of an example must be equal (both sentences, question and context), without regard to case, white space
    and Unicode form (NFKC).
    """
    training_texts = {hash(texts) for texts in _texts(splits.train)}
    return {
        name: sum(hash(texts) in training_texts for texts in _texts(validation))
        for name, validation in splits.validation.items()
    }


def _texts(rows: Dataset) -> Iterator[tuple[str, ...]]:
    names = text_columns(rows)
    for batch in rows.select_columns(names).iter(batch_size=1000):
        yield from zip(*(map(normalized, texts_of(batch[name])) for name in names), strict=True)


@lru_cache(1000)  # consecutive questions share a context
def normalized(text: str) -> str:
    """Return the text in NFKC, case-folded, with single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
