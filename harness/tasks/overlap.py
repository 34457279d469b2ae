"""Overlap of training and validation texts: examples that are scored and were trained on."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.api.task import Splits

TEXTS = ("text", "text_pair", "question", "context")


def overlap(splits: Splits) -> dict[str, int]:
    """How many examples of each validation split have the texts of a training example.

    All texts of an example count together (both sentences, question and context), compared without regard to case,
    white space and Unicode form (NFKC).
    """
    trained = {hash(texts) for texts in _texts(splits.train)}
    return {
        name: sum(hash(texts) in trained for texts in _texts(validation))
        for name, validation in splits.validation.items()
    }


def _texts(rows: Dataset) -> Iterator[tuple[str, ...]]:
    names = [name for name in TEXTS if name in rows.column_names]
    for batch in rows.select_columns(names).iter(batch_size=1000):
        yield from zip(*([normalized(text) for text in batch[name]] for name in names), strict=True)


@lru_cache(1000)  # many questions have one context, one after another
def normalized(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
