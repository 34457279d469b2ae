"""Tokenised examples, and the padded batches made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.api.errors import UserError
from harness.tasks.features import CHUNK, Row, words_of
from harness.tasks.offset_checks import refuse_wrong_offsets
from harness.tasks.qa_windows import windows
from harness.tasks.ragged_arrays import Ragged, Strings
from harness.tasks.token_offsets import places_of

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.api.batch import Batch, TaskKind
    from harness.api.task import Task


VALUES, STARTS = ".values", ".starts"


@dataclass(frozen=True)
class TokenizedExamples:
    """Tokenised examples, R rows, one for each example; for QA one for each window over its context.

    Attributes:
        kind: what the labels mean.
        ids: the examples' ids; for QA the windows', ``{example}#{window}``.
        examples: int64 [R], the index of the example that a row comes from.
        input_ids: int32, unpadded, special tokens and all.
        token_type_ids: int8, only where the model has them.
        word_ids: int32, which word of its sentence a token belongs to, -1 for special tokens.
        labels: classification int64 [R]; regression float32 [R]; QA int64 [R, 2], first and last token of the answer,
            both 0 ([CLS]) in a window without it.
        answer_mask: QA only, bool, where an answer may lie ([CLS] and the context's tokens).
        offsets: QA only, int32 rows of [n, 2], a token's first character in the context and the one after its last.
        places: only where they were asked for, int32 rows of [n, 3]: see `harness.tasks.token_offsets`.
    """

    kind: TaskKind
    ids: Strings
    examples: NDArray[np.int64]
    input_ids: Ragged
    token_type_ids: Ragged | None
    word_ids: Ragged
    labels: NDArray[Any]
    answer_mask: Ragged | None = None
    offsets: Ragged | None = None
    places: Ragged | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row, int64 [R]."""
        return self.input_ids.lengths

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that it holds, by name: a column, or the ``.values`` and ``.starts`` of a ragged one."""
        found: dict[str, NDArray[Any]] = {}
        for column in fields(self)[1:]:
            content = getattr(self, column.name)
            content = content.letters if isinstance(content, Strings) else content
            if isinstance(content, Ragged):
                found |= {f"{column.name}{VALUES}": content.values, f"{column.name}{STARTS}": content.starts}
            elif content is not None:
                found[column.name] = content
        return found

    @staticmethod
    def of_arrays(kind: TaskKind, arrays: Mapping[str, NDArray[Any]]) -> TokenizedExamples:
        """What `arrays` was of."""
        columns: dict[str, Any] = {}
        for column in fields(TokenizedExamples)[1:]:
            values = arrays.get(f"{column.name}{VALUES}")
            starts = arrays.get(f"{column.name}{STARTS}")
            ragged = Ragged(values, starts) if values is not None and starts is not None else None
            columns[column.name] = arrays.get(column.name) if ragged is None else ragged
        return TokenizedExamples(kind, **{**columns, "ids": Strings(columns["ids"])})


def encode(dataset: Dataset, task: Task, tokenizer: Any, max_length: int, *, places: bool = False) -> TokenizedExamples:
    """Tokenise one split of a `Splits`. No row has more than `max_length` tokens.

    Sentences are cut at their end, of a pair the longer one first. For QA see `harness.tasks.qa_windows`. `places` asks
    for those of all tokens, for teachers that read along with another tokenizer.

    Raises:
        UserError: `tokenizer` is not a fast one, and cannot tell which word a token belongs to; or its offsets, where
            they are needed, are wrong.
    """
    return concatenate(encode_in_chunks(dataset, task, tokenizer, max_length, places=places))


def encode_in_chunks(
    dataset: Dataset, task: Task, tokenizer: Any, max_length: int, *, places: bool = False
) -> Iterator[TokenizedExamples]:
    """`encode` in chunks of `CHUNK` examples, to bound memory; `concatenate` joins them."""
    if not tokenizer.is_fast:
        raise UserError(f"{type(tokenizer).__name__} is no fast tokenizer, and cannot tell the words of its tokens")
    if task.kind == "qa" or places:
        texts = ("question", "context") if task.kind == "qa" else ("text", "text_pair")
        refuse_wrong_offsets(dataset, [name for name in texts if name in dataset.column_names], tokenizer)
    if task.kind != "qa":
        return chunked(task.kind, _sentences(dataset, tokenizer, max_length, places=places))
    return chunked(task.kind, windows(dataset, tokenizer, max_length, places=places))


def concatenate(parts: Iterable[TokenizedExamples]) -> TokenizedExamples:
    """All their rows; at least one part."""
    each = list(parts)
    columns = [part.arrays() for part in each]
    joined = {}
    for name in columns[0]:
        arrays = [column[name] for column in columns]
        joined[name] = np.concatenate(_moved(arrays) if name.endswith(STARTS) else arrays)
    return TokenizedExamples.of_arrays(each[0].kind, joined)


def _moved(starts: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """Those of each ragged array behind the ones before."""
    ends = np.cumsum([0, *(own[-1] for own in starts)])
    return [own[index > 0 :] + ends[index] for index, own in enumerate(starts)]


def collate(
    encoded: TokenizedExamples, rows: Sequence[int], pad_token_id: int, *, pad_to_multiple_of: int = 1
) -> Batch:
    """The named rows as one batch, padded at their ends to the longest, rounded up to a multiple."""
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
        labels=torch.from_numpy(encoded.labels[list(rows)]),
        answer_mask=None if encoded.answer_mask is None else padded(encoded.answer_mask, 0).bool(),
        word_ids=padded(encoded.word_ids, -1),
    )


def _sentences(dataset: Dataset, tokenizer: Any, max_length: int, *, places: bool) -> Iterator[Row]:
    pairs = "text_pair" in dataset.column_names
    for first in range(0, len(dataset), CHUNK):
        chunk = dataset[first : first + CHUNK]
        texts = [chunk["text"], chunk["text_pair"]] if pairs else [chunk["text"]]
        tokens = tokenizer(*texts, truncation=True, max_length=max_length, return_offsets_mapping=places)
        types = tokens.get("token_type_ids")
        for index, (id, label) in enumerate(zip(chunk["id"], chunk["label"], strict=True)):
            yield Row(
                id=id,
                example=first + index,
                input_ids=tokens["input_ids"][index],
                token_type_ids=types and types[index],
                word_ids=words_of(tokens, index),
                label=label,
                places=places_of(tokens, index, [column[index] for column in texts]) if places else None,
            )


def chunked(kind: TaskKind, rows: Iterable[Row]) -> Iterator[TokenizedExamples]:
    """The rows, column by column, so many at once; one part without rows if there are none."""
    each = iter(rows)
    chunk = list(islice(each, CHUNK))
    yield _columns(kind, chunk)
    while chunk := list(islice(each, CHUNK)):
        yield _columns(kind, chunk)


def _columns(kind: TaskKind, rows: Sequence[Row]) -> TokenizedExamples:
    dtype = np.float32 if kind == "regression" else np.int64
    shape = (-1, 2) if kind == "qa" else (-1,)
    return TokenizedExamples(
        kind=kind,
        ids=Strings.of([row.id for row in rows]),
        examples=np.array([row.example for row in rows], dtype=np.int64),
        input_ids=Ragged.of([row.input_ids for row in rows], np.int32),
        token_type_ids=_optional([row.token_type_ids for row in rows], np.int8),
        word_ids=Ragged.of([row.word_ids for row in rows], np.int32),
        labels=np.array([row.label for row in rows], dtype=dtype).reshape(shape),
        answer_mask=_optional([row.answer_mask for row in rows], np.bool_),
        offsets=_optional([row.offsets for row in rows], np.int32, (2,)),
        places=_optional([row.places for row in rows], np.int32, (3,)),
    )


def _optional(rows: Sequence[Any], dtype: type[np.generic], width: tuple[int, ...] = ()) -> Ragged | None:
    return Ragged.of(rows, dtype, width) if rows and rows[0] is not None else None
