"""A tokenized row: one example, or one window of a QA example."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from numpy.typing import NDArray

    from harness.api.batch import TaskKind

TEXT_COLUMNS = ("text", "text_pair", "question", "context", "tokens")
"""Names of text columns in `harness.api.task.Splits`; ``tokens`` holds lists of words."""

SENTENCES: Mapping[TaskKind, tuple[str, ...]] = {"qa": ("question", "context"), "token_classification": ("tokens",)}
"""Kind of task -> its text columns, in the order of the tokenizer's sentences; others: text and text_pair."""

CHUNK = 1000
"""Number of examples in one call of the tokenizer."""

DROPPED = ("Mn", "Me", "Cf", "Cc", "Co", "Zs", "Zl", "Zp")
"""Unicode categories (marks, controls, white space) that some tokenizers drop."""


@dataclass(frozen=True)
class TokenRow:
    """One tokenized example, or one window of it. Fields as in `harness.tasks.tokenization.TokenizedExamples`."""

    id: str
    example: int
    input_ids: list[int]
    token_type_ids: list[int] | None
    word_ids: list[int]
    label: float | Sequence[float] | NDArray[Any]
    answer_mask: NDArray[np.bool_] | None = None
    offsets: NDArray[np.int32] | None = None
    places: NDArray[np.int32] | None = None


def text_columns(dataset: Dataset) -> list[str]:
    """Return those of `TEXT_COLUMNS` that a data set has."""
    return [name for name in TEXT_COLUMNS if name in dataset.column_names]


def sentence_columns(kind: TaskKind, dataset: Dataset) -> list[str]:
    """Return the text columns of a data set, in the order of the tokenizer's sentences."""
    return [name for name in SENTENCES.get(kind, ("text", "text_pair")) if name in dataset.column_names]


def texts_of(values: Iterable[str | Sequence[str]]) -> Iterator[str]:
    """Yield the texts of a text column: as they are, or the words of each value joined by blanks."""
    return (value if isinstance(value, str) else " ".join(value) for value in values)


def word_ids_of(tokens: Any, row: int) -> list[int]:
    """Return the word ids of one row of a `BatchEncoding`, -1 for special tokens."""
    return [-1 if word is None else word for word in tokens.word_ids(row)]
