"""A task's examples as models read them, and the stream of batches that a cohort trains on."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate
from threading import Lock
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedTokenizerBase

from harness.api.batch import Batch
from harness.api.task import Splits, Task
from harness.tasks.batching import epoch_batches
from harness.tasks.cross_tokenizer import retokenize
from harness.tasks.length_groups import GROUP_COST, MAX_GROUPS, split_by_length
from harness.tasks.tokenization import TokenizedExamples, collate, concatenate, encode_in_chunks
from harness.tasks.tokenized_cache import cache_key_parts, load_or_build
from harness.training.step_batch import Cut, StepBatch
from harness.training.token_alignment import Alignment

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.config.schema import Batching


@dataclass(frozen=True)
class TokenizedTask:
    """A task's splits, tokenised by one tokenizer. `reader` is the tokenizer's fingerprint. `held` tokenises what is
    held out to choose on, where there is something."""

    task: Task
    splits: Splits
    reader: str
    pad_token_id: int
    train: TokenizedExamples
    validation: Mapping[str, TokenizedExamples]
    held: Callable[[], TokenizedExamples] | None = None

    @cached_property
    def selection(self) -> TokenizedExamples | None:
        """What is held out of the training split to choose on, tokenised when it is first asked for."""
        return self.held() if self.held else None

    def batch(self, rows: list[int]) -> Batch:
        """Training examples, padded to the longest."""
        return collate(self.train, rows, self.pad_token_id)

    def like(self, batch: Batch) -> Batch:
        """The rows of another tokenizer's batch, on its device."""
        return self.batch(list(batch.rows)).to(batch.labels.device)


def encode_task(
    task: Task,
    splits: Splits,
    tokenizer: PreTrainedTokenizerBase,
    reader: str,
    max_length: int,
    *,
    places: bool = False,
    fingerprints: Mapping[str, str] | None = None,
) -> TokenizedTask:
    """Tokenise all splits of a task; with `places`, so that teachers with other tokenizers can read the training rows
    along.

    `fingerprints` are those of the training split, under ``train``, of the validation splits, under their names after
    ``validation/``, and of what is held out, under ``selection``: with them, what was tokenised before comes from the
    cache.
    """

    def one(dataset: Dataset, name: str, *, places: bool = False) -> TokenizedExamples:
        def make() -> Iterator[TokenizedExamples]:
            return encode_in_chunks(dataset, task, tokenizer, max_length, places=places)

        if fingerprints is None:
            return concatenate(make())
        kind = {"kind": task.kind, "unanswerable": task.unanswerable, "places": places}
        return load_or_build(cache_key_parts(fingerprints[name], reader, tokenizer, max_length, **kind), make)

    validation = {name: one(part, f"validation/{name}") for name, part in splits.validation.items()}
    train = one(splits.train, "train", places=places)
    held = partial(one, splits.selection, "selection") if splits.selection is not None else None
    return TokenizedTask(task, splits, reader, int(tokenizer.pad_token_id), train, validation, held)


def encode_along(
    students: TokenizedTask,
    tokenizer: PreTrainedTokenizerBase,
    reader: str,
    most: int | None,
    *,
    fingerprint: str | None = None,
) -> TokenizedTask:
    """The training rows of `students`, which has their places, as another tokenizer reads them: of no more than `most`
    tokens. There are no validation splits: teachers read along only where somebody learns.

    `fingerprint` is that of the rows and of how `students` reads them: with it, what was tokenised before comes from
    the cache.
    """

    def make() -> Iterator[TokenizedExamples]:
        return retokenize(students.train, students.splits.train, tokenizer, most)

    if fingerprint is None:
        train = concatenate(make())
    else:
        shown = {"kind": students.task.kind, "along": students.reader}
        train = load_or_build(cache_key_parts(fingerprint, reader, tokenizer, most, **shown), make)
    return TokenizedTask(students.task, students.splits, reader, int(tokenizer.pad_token_id), train, {})


class BatchStream:
    """The endless sequence of training batches: epoch after epoch, in the order that `data_seed` gives.

    Batches have `batch_size` rows, or as many as `token_budget` has room for. Their number differs from epoch to epoch
    then; `batches_per_epoch` is that of the first, by which the length of runs is counted.

    With the batching ``grouped`` the rows of a batch are split into groups by their length (see `split_by_length`).

    `students` decides the batches; `others`, by their reader, hold the same rows for teachers that read along with
    another tokenizer.
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
        self.reader = students.reader
        self.encoded = {students.reader: students, **(others or {})}
        self.batch_size = batch_size
        self.data_seed = data_seed
        self.token_budget = token_budget
        self.batching: Batching = batching
        self._ends = [0]  # where epochs begin and end, as far as is known
        self._orders: dict[int, list[list[int]]] = {}
        self._lock = Lock()
        self.batches_per_epoch = len(self._order_of(0))

    def at(self, position: int, device: torch.device) -> StepBatch:
        """The batch at that place of the sequence, on the device."""
        return self.made(position).to(device)

    def made(self, position: int) -> StepBatch:
        """`at`, on the CPU."""
        rows = self._rows(position)
        batches = {reader: encoded.batch(rows) for reader, encoded in self.encoded.items()}
        cuts = {reader: self._cuts(reader, rows) for reader in self.encoded}
        return StepBatch(batches, cuts, int(batches[self.reader].lengths.sum()))

    def alignments(self, position: int, reader: str, device: torch.device) -> list[Alignment]:
        """Of that reader's tokens with the students', for each group of the batch at that place."""
        rows, student, other = self._rows(position), self.encoded[self.reader].train, self.encoded[reader].train
        return [Alignment.of(student, other, rows[group], device) for group in self._groups(rows)]

    def _cuts(self, reader: str, rows: list[int]) -> list[Cut]:
        lengths = self.encoded[reader].train.input_ids.lengths_of(rows)
        return [(group, int(lengths[group].max())) for group in self._groups(rows)]

    def _groups(self, rows: list[int]) -> list[slice]:
        """Of the batch's rows, which are sorted by the students' lengths; one group unless batching is ``grouped``."""
        if self.batching != "grouped":
            return [slice(0, len(rows))]
        lengths = self.encoded[self.reader].train.input_ids.lengths_of(rows)
        sizes = split_by_length(lengths, max_groups=MAX_GROUPS, group_cost=GROUP_COST)
        ends = list(accumulate(sizes))
        return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]

    def _rows(self, position: int) -> list[int]:
        with self._lock:  # a thread may be at the next batches
            while self._ends[-1] <= position:
                epoch = len(self._ends) - 1
                count = self.batches_per_epoch if self.token_budget is None else len(self._order_of(epoch))
                self._ends.append(self._ends[-1] + count)
            epoch = bisect_right(self._ends, position) - 1
            return self._order_of(epoch)[position - self._ends[epoch]]

    def _order_of(self, epoch: int) -> list[list[int]]:
        if epoch not in self._orders:
            lengths = self.encoded[self.reader].train.lengths
            order = epoch_batches(
                lengths,
                self.batch_size,
                seed=self.data_seed,
                epoch=epoch,
                token_budget=self.token_budget,
                batching=self.batching,
            )
            self._orders = {known: self._orders[known] for known in (epoch - 1, epoch + 1) if known in self._orders}
            self._orders[epoch] = order
        return self._orders[epoch]
