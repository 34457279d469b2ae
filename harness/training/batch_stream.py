"""Tokenized tasks, and the stream of batches that a cohort trains on."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import accumulate
from threading import Lock
from typing import TYPE_CHECKING, Any

import torch

from harness.api.batch import Batch
from harness.api.task import Splits, Task
from harness.tasks.batching import epoch_batches
from harness.tasks.class_weights import class_weights
from harness.tasks.cross_tokenizer import retokenize
from harness.tasks.length_groups import GROUP_COST, MAX_GROUPS, split_by_length
from harness.tasks.tokenization import TokenizedExamples, collate, concatenate, encode_in_chunks
from harness.tasks.tokenized_cache import cache_key_parts, load_or_build
from harness.training.step_batch import GroupSlice, StepBatch
from harness.training.token_alignment import Alignment

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from harness.config.training_schema import Batching


@dataclass(frozen=True)
class TokenizedTask:
    """The splits of a task, tokenized by one tokenizer.

    Attributes:
        tokenizer_id: fingerprint of the tokenizer; with another tokenizer than the students', the limit of tokens, too.
        tokenize_selection: tokenizes the held-out split that epochs and options are selected on; None: there is none.
    """

    task: Task
    splits: Splits
    tokenizer_id: str
    pad_token_id: int
    train: TokenizedExamples
    validation: Mapping[str, TokenizedExamples]
    tokenize_selection: Callable[[], TokenizedExamples] | None = None

    @cached_property
    def selection(self) -> TokenizedExamples | None:
        """The held-out part of the training split, tokenized on first use; None: there is none."""
        return self.tokenize_selection() if self.tokenize_selection else None

    @cached_property
    def class_weights(self) -> torch.Tensor | None:
        """Weights of the classes in the task loss, float32 [C], see `harness.tasks.class_weights`."""
        if self.task.class_weights is None:
            return None
        return torch.from_numpy(class_weights(self.task, self.train.labels)).float()

    def batch(self, rows: list[int]) -> Batch:
        """The training examples `rows`, padded to the longest; labels are standardized if those of the task are."""
        batch = collate(self.train, rows, self.pad_token_id)
        if (scale := self.task.label_scale) is not None:
            batch = replace(batch, labels=((batch.labels.double() - scale.mean) / scale.unit).float())
        return batch if self.class_weights is None else replace(batch, class_weights=self.class_weights)

    def same_rows(self, batch: Batch) -> Batch:
        """The examples of another tokenizer's `batch`, in this tokenization, on the same device."""
        return self.batch(list(batch.rows)).to(batch.labels.device)


def encode_task(
    task: Task,
    splits: Splits,
    tokenizer: PreTrainedTokenizerBase,
    tokenizer_id: str,
    max_length: int,
    *,
    places: bool = False,
    fingerprints: Mapping[str, str] | None = None,
) -> TokenizedTask:
    """Tokenize all splits of a task.

    Args:
        tokenizer_id: fingerprint of `tokenizer`.
        places: include the tokens' character offsets of the training split, which teachers with other tokenizers need.
        fingerprints: of the splits, by ``train``, ``validation/NAME`` and ``selection``. With them, tokenized splits
            are read from the cache and written to it.
    """

    def encode_split(dataset: Dataset, name: str, *, places: bool = False) -> TokenizedExamples:
        def encode() -> Iterator[TokenizedExamples]:
            return encode_in_chunks(dataset, task, tokenizer, max_length, places=places)

        if fingerprints is None:
            return concatenate(encode())
        kind: dict[str, Any] = {"kind": task.kind, "unanswerable": task.unanswerable, "places": places}
        if task.kind == "multilabel":  # the width of the labels
            kind["classes"] = len(task.labels)
        return load_or_build(cache_key_parts(fingerprints[name], tokenizer_id, tokenizer, max_length, **kind), encode)

    validation = {name: encode_split(part, f"validation/{name}") for name, part in splits.validation.items()}
    train = encode_split(splits.train, "train", places=places)
    selection = partial(encode_split, splits.selection, "selection") if splits.selection is not None else None
    return TokenizedTask(task, splits, tokenizer_id, int(tokenizer.pad_token_id), train, validation, selection)


def encode_with_other_tokenizer(
    students: TokenizedTask,
    tokenizer: PreTrainedTokenizerBase,
    tokenizer_id: str,
    most: int | None,
    *,
    fingerprint: str | None = None,
) -> TokenizedTask:
    """Tokenize the training rows of `students`, which includes character offsets, with a teacher's tokenizer.

    Rows have at most `most` tokens. Validation splits are left out: a teacher with another tokenizer than its students
    only runs during training. `fingerprint` is that of the rows and of the students' tokenization; with it, tokenized
    rows are read from the cache and written to it.
    """

    def encode() -> Iterator[TokenizedExamples]:
        return retokenize(students.train, students.splits.train, tokenizer, most)

    if fingerprint is None:
        train = concatenate(encode())
    else:
        settings = {"kind": students.task.kind, "along": students.tokenizer_id}
        train = load_or_build(cache_key_parts(fingerprint, tokenizer_id, tokenizer, most, **settings), encode)
    return TokenizedTask(students.task, students.splits, tokenizer_id, int(tokenizer.pad_token_id), train, {})


class BatchStream:
    """The endless sequence of training batches, epoch after epoch, with random access by position.

    Args:
        students: the students' tokenization. Its lengths decide the batches.
        batch_size: rows of a batch.
        data_seed: decides the order of the rows.
        token_budget: most padded tokens of a batch; replaces `batch_size`. The number of batches then differs between
            epochs; `batches_per_epoch` is that of the first, by which the length of runs is counted.
        batching: see `epoch_batches`; with ``grouped``, batches are split by `split_by_length`.
        others: the same rows in other teachers' tokenizations, by their `tokenizer_id`.
    """

    def __init__(
        self,
        students: TokenizedTask,
        *,
        batch_size: int,
        data_seed: int,
        token_budget: int | None = None,
        batching: Batching = "random",
        others: Mapping[str, TokenizedTask] | None = None,
    ) -> None:
        self.tokenizer_id = students.tokenizer_id
        self.encoded = {students.tokenizer_id: students, **(others or {})}
        self.batch_size = batch_size
        self.data_seed = data_seed
        self.token_budget = token_budget
        self.batching: Batching = batching
        self._ends = [0]  # positions at which epochs end, as far as computed
        self._orders: dict[int, list[list[int]]] = {}
        self._lock = Lock()
        self.batches_per_epoch = len(self._order_of(0))

    @property
    def examples(self) -> int:
        """The number of training examples. The rows of all batches are below it."""
        return len(self.encoded[self.tokenizer_id].train)

    def at(self, position: int, device: torch.device) -> StepBatch:
        """The batch at `position`, on `device`."""
        return self.build(position).to(device)

    def build(self, position: int) -> StepBatch:
        """The batch at `position`, on the CPU."""
        rows = self._rows(position)
        batches = {name: encoded.batch(rows) for name, encoded in self.encoded.items()}
        group_slices = {name: self._group_slices(name, rows) for name in self.encoded}
        return StepBatch(batches, group_slices, int(batches[self.tokenizer_id].lengths.sum()))

    def alignments(self, position: int, tokenizer_id: str, device: torch.device) -> list[Alignment]:
        """Alignments of another tokenizer's tokens with the students', one for each group of the batch."""
        rows, student = self._rows(position), self.encoded[self.tokenizer_id].train
        other = self.encoded[tokenizer_id].train
        return [Alignment.of(student, other, rows[group], device) for group in self._groups(rows)]

    def _group_slices(self, tokenizer_id: str, rows: list[int]) -> list[GroupSlice]:
        lengths = self.encoded[tokenizer_id].train.input_ids.lengths_of(rows)
        return [(group, int(lengths[group].max())) for group in self._groups(rows)]

    def _groups(self, rows: list[int]) -> list[slice]:
        """Groups of the batch's rows, which are sorted by students' lengths; one unless batching is ``grouped``."""
        if self.batching != "grouped":
            return [slice(0, len(rows))]
        lengths = self.encoded[self.tokenizer_id].train.input_ids.lengths_of(rows)
        sizes = split_by_length(lengths, max_groups=MAX_GROUPS, group_cost=GROUP_COST)
        ends = list(accumulate(sizes))
        return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]

    def _rows(self, position: int) -> list[int]:
        with self._lock:  # the prefetcher's thread calls this, too
            while self._ends[-1] <= position:
                epoch = len(self._ends) - 1
                count = self.batches_per_epoch if self.token_budget is None else len(self._order_of(epoch))
                self._ends.append(self._ends[-1] + count)
            epoch = bisect_right(self._ends, position) - 1
            return self._order_of(epoch)[position - self._ends[epoch]]

    def _order_of(self, epoch: int) -> list[list[int]]:
        if epoch not in self._orders:
            lengths = self.encoded[self.tokenizer_id].train.lengths
            order = epoch_batches(
                lengths,
                self.batch_size,
                seed=self.data_seed,
                epoch=epoch,
                token_budget=self.token_budget,
                batching=self.batching,
            )
            self._orders = {near: self._orders[near] for near in (epoch - 1, epoch + 1) if near in self._orders}
            self._orders[epoch] = order
        return self._orders[epoch]
