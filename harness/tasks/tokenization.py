"""Tokenization of a task's examples, and their collation into padded batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.api.batch import IGNORED
from harness.api.errors import UserError
from harness.tasks import qa_windows, word_windows
from harness.tasks.features import CHUNK, TokenRow, sentence_columns, word_ids_of
from harness.tasks.offset_checks import refuse_wrong_offsets
from harness.tasks.ragged_arrays import Ragged, Strings
from harness.tasks.token_offsets import token_places

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

    from harness.api.batch import Batch, TaskKind
    from harness.api.task import Task


VALUES, STARTS = ".values", ".starts"

WINDOWS: Mapping[TaskKind, Callable[..., Iterator[TokenRow]]] = {
    "token_classification": word_windows.windows,
    "qa": qa_windows.windows,
}
"""Kinds whose long texts are split into windows; texts of others are truncated."""


@dataclass(frozen=True)
class TokenizedExamples:
    """A tokenized data set of R rows: one row for each example, or for each of its windows.

    A window is a part of a QA context, or of a text whose words are labelled.

    Attributes:
        kind: kind of the task, which determines the labels.
        ids: ids of the examples; for token classification and QA, ids of the windows, ``{example}#{window}``.
        examples: int64 [R], the index of each row's example.
        input_ids: int32, unpadded, with special tokens.
        token_type_ids: int8; None if the model has none.
        word_ids: int32, index of a token's word in its sentence, for token classification in the example's ``tokens``;
            -1 for special tokens.
        labels: classification int64 [R]; multilabel float32 [R, C], 1 for the example's classes, else 0; regression
            float32 [R]; token classification int64, unpadded, a word's class at its first token, in one window only,
            else `IGNORED`; QA int64 [R, 2], first and last token of the answer, both 0 ([CLS]) in a window without it.
        answer_mask: QA only, bool, tokens at which an answer may start or end ([CLS] and the context's tokens).
        offsets: QA only, int32 rows of [n, 2], a token's first character in the context and the one after its last.
        places: int32 rows of [n, 3], see `harness.tasks.token_offsets`; None unless requested.
    """

    kind: TaskKind
    ids: Strings
    examples: NDArray[np.int64]
    input_ids: Ragged
    token_type_ids: Ragged | None
    word_ids: Ragged
    labels: NDArray[Any] | Ragged
    answer_mask: Ragged | None = None
    offsets: Ragged | None = None
    places: Ragged | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of tokens of each row, int64 [R]."""
        return self.input_ids.lengths

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all columns as arrays by name; a ragged column as ``{name}.values`` and ``{name}.starts``."""
        arrays: dict[str, NDArray[Any]] = {}
        for column in fields(self)[1:]:
            content = getattr(self, column.name)
            content = content.letters if isinstance(content, Strings) else content
            if isinstance(content, Ragged):
                arrays |= {f"{column.name}{VALUES}": content.values, f"{column.name}{STARTS}": content.starts}
            elif content is not None:
                arrays[column.name] = content
        return arrays

    @staticmethod
    def of_arrays(kind: TaskKind, arrays: Mapping[str, NDArray[Any]]) -> TokenizedExamples:
        """Build the examples from the result of `arrays`."""
        columns: dict[str, Any] = {}
        for column in fields(TokenizedExamples)[1:]:
            values = arrays.get(f"{column.name}{VALUES}")
            starts = arrays.get(f"{column.name}{STARTS}")
            ragged = Ragged(values, starts) if values is not None and starts is not None else None
            columns[column.name] = arrays.get(column.name) if ragged is None else ragged
        return TokenizedExamples(kind, **{**columns, "ids": Strings(columns["ids"])})


def encode(dataset: Dataset, task: Task, tokenizer: Any, max_length: int, *, places: bool = False) -> TokenizedExamples:
    """Tokenize one split of a `Splits`.

    Args:
        dataset: the split.
        task: the task of the split.
        tokenizer: a fast tokenizer.
        max_length: maximum number of tokens of a row. Sentences are truncated at their end, of a pair the longer one
            first. For token classification and QA, long texts are split into windows, see
            `harness.tasks.word_windows` and `harness.tasks.qa_windows`.
        places: whether to return the tokens' `places`, which teachers with another tokenizer need.

    Raises:
        UserError: `tokenizer` is not a fast tokenizer, or its offsets are wrong and needed.
    """
    return concatenate(encode_in_chunks(dataset, task, tokenizer, max_length, places=places))


def encode_in_chunks(
    dataset: Dataset, task: Task, tokenizer: Any, max_length: int, *, places: bool = False
) -> Iterator[TokenizedExamples]:
    """`encode` in chunks of `CHUNK` examples, to bound memory; `concatenate` joins them."""
    if not tokenizer.is_fast:
        raise UserError(
            f"{type(tokenizer).__name__} is not a fast tokenizer and has no word ids; use a model with a tokenizer.json"
        )
    if task.kind in WINDOWS or places:
        refuse_wrong_offsets(dataset, sentence_columns(task.kind, dataset), tokenizer)
    rows = WINDOWS.get(task.kind, partial(_sentences, task=task))
    return chunked(task.kind, rows(dataset, tokenizer=tokenizer, max_length=max_length, places=places))


def concatenate(chunks: Iterable[TokenizedExamples]) -> TokenizedExamples:
    """Concatenate the rows of one or more chunks."""
    first, *others = chunks
    chunk_arrays = [chunk.arrays() for chunk in (first, *others)]
    joined = {}
    for name in chunk_arrays[0]:
        arrays = [columns[name] for columns in chunk_arrays]
        joined[name] = np.concatenate(_shift_starts(arrays) if name.endswith(STARTS) else arrays)
    return TokenizedExamples.of_arrays(first.kind, joined)


def _shift_starts(chunks: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """Shift the starts of each chunk by the number of values before it."""
    ends = np.cumsum([0, *(starts[-1] for starts in chunks)])
    return [starts[index > 0 :] + ends[index] for index, starts in enumerate(chunks)]


def collate(
    encoded: TokenizedExamples, rows: Sequence[int], pad_token_id: int, *, pad_to_multiple_of: int = 1
) -> Batch:
    """Collate the given rows into a batch, padded at the end to the longest row, rounded up to a multiple."""
    import torch

    from harness.api.batch import Batch

    lengths = encoded.input_ids.lengths_of(rows)
    length = -(-int(lengths.max()) // pad_to_multiple_of) * pad_to_multiple_of

    def padded(column: Ragged, fill: int) -> torch.Tensor:
        return torch.from_numpy(column.padded(rows, length, fill).astype(np.int64))

    mask = np.arange(length) < lengths[:, None]
    inputs = {
        "input_ids": padded(encoded.input_ids, pad_token_id),
        "attention_mask": torch.from_numpy(mask.astype(np.int64)),
    }
    if encoded.token_type_ids is not None:
        inputs["token_type_ids"] = padded(encoded.token_type_ids, 0)
    return Batch(
        kind=encoded.kind,
        ids=tuple(encoded.ids[row] for row in rows),
        inputs=inputs,
        labels=_batch_labels(encoded, rows, length),
        answer_mask=None if encoded.answer_mask is None else padded(encoded.answer_mask, 0).bool(),
        word_ids=padded(encoded.word_ids, -1),
        rows=tuple(map(int, rows)),
    )


def _batch_labels(encoded: TokenizedExamples, rows: Sequence[int], length: int) -> Tensor:
    """The labels of the given rows; labels per token are padded to `length` tokens."""
    import torch

    labels = encoded.labels
    return torch.from_numpy(labels.padded(rows, length, IGNORED) if isinstance(labels, Ragged) else labels[list(rows)])


def _sentences(
    dataset: Dataset, tokenizer: Any, max_length: int, *, task: Task, places: bool = False
) -> Iterator[TokenRow]:
    pairs = "text_pair" in dataset.column_names
    for first in range(0, len(dataset), CHUNK):
        chunk = dataset[first : first + CHUNK]
        texts = [chunk["text"], chunk["text_pair"]] if pairs else [chunk["text"]]
        tokens = tokenizer(*texts, truncation=True, max_length=max_length, return_offsets_mapping=places)
        types = tokens.get("token_type_ids")
        for index, (id, label) in enumerate(zip(chunk["id"], chunk["label"], strict=True)):
            yield TokenRow(
                id=id,
                example=first + index,
                input_ids=tokens["input_ids"][index],
                token_type_ids=types and types[index],
                word_ids=word_ids_of(tokens, index),
                label=_indicators(label, len(task.labels)) if task.kind == "multilabel" else label,
                places=token_places(tokens, index, [column[index] for column in texts]) if places else None,
            )


def _indicators(classes: Iterable[int], count: int) -> list[float]:
    """1 for each of the given classes and 0 for the others, `count` in all; hidden labels, [-1], have no class."""
    present = set(classes)
    return [float(index in present) for index in range(count)]


def chunked(kind: TaskKind, rows: Iterable[TokenRow]) -> Iterator[TokenizedExamples]:
    """Convert rows to `TokenizedExamples` of `CHUNK` rows each; without rows, to one empty chunk."""
    iterator = iter(rows)
    chunk = list(islice(iterator, CHUNK))
    yield _columns(kind, chunk)
    while chunk := list(islice(iterator, CHUNK)):
        yield _columns(kind, chunk)


def _columns(kind: TaskKind, rows: Sequence[TokenRow]) -> TokenizedExamples:
    return TokenizedExamples(
        kind=kind,
        ids=Strings.of([row.id for row in rows]),
        examples=np.array([row.example for row in rows], dtype=np.int64),
        input_ids=Ragged.of([row.input_ids for row in rows], np.int32),
        token_type_ids=_optional([row.token_type_ids for row in rows], np.int8),
        word_ids=Ragged.of([row.word_ids for row in rows], np.int32),
        labels=_labels(kind, [row.label for row in rows]),
        answer_mask=_optional([row.answer_mask for row in rows], np.bool_),
        offsets=_optional([row.offsets for row in rows], np.int32, (2,)),
        places=_optional([row.places for row in rows], np.int32, (3,)),
    )


def _labels(kind: TaskKind, labels: Sequence[Any]) -> NDArray[Any] | Ragged:
    if kind == "token_classification":
        return Ragged.of(labels, np.int64)
    dtype = np.float32 if kind in ("multilabel", "regression") else np.int64
    if kind == "qa":
        return np.array(labels, dtype=dtype).reshape(-1, 2)
    return np.array(labels, dtype=dtype)


def _optional(rows: Sequence[Any], dtype: type[np.generic], width: tuple[int, ...] = ()) -> Ragged | None:
    return Ragged.of(rows, dtype, width) if rows and rows[0] is not None else None
