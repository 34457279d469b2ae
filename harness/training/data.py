"""A task's examples as models read them, and the stream of batches that a cohort trains on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from harness.batch import Batch
from harness.tasks.base import Splits, Task
from harness.tasks.batches import epoch_batches
from harness.tasks.encode import Encoded, collate, encode


@dataclass(frozen=True)
class EncodedTask:
    """A task's splits, tokenised by one tokenizer. `reader` is the tokenizer's fingerprint."""

    task: Task
    splits: Splits
    reader: str
    pad_token_id: int
    train: Encoded
    validation: Mapping[str, Encoded]

    def batch(self, rows: list[int]) -> Batch:
        """Training examples, padded to the longest."""
        return collate(self.train, rows, self.pad_token_id)


def encode_task(
    task: Task, splits: Splits, tokenizer: PreTrainedTokenizerBase, reader: str, max_length: int
) -> EncodedTask:
    """Tokenise all splits of a task."""
    validation = {name: encode(part, task, tokenizer, max_length) for name, part in splits.validation.items()}
    train = encode(splits.train, task, tokenizer, max_length)
    return EncodedTask(task, splits, reader, int(tokenizer.pad_token_id), train, validation)


class Stream:
    """The endless sequence of training batches: epoch after epoch, in the order that `data_seed` gives.

    `students` decides the batches; `others` hold the same examples for teachers that read with another tokenizer.
    """

    def __init__(
        self, students: EncodedTask, *, batch_size: int, data_seed: int, others: Mapping[str, EncodedTask] | None = None
    ) -> None:
        self.reader = students.reader
        self.encoded = {students.reader: students, **(others or {})}
        self.batch_size = batch_size
        self.data_seed = data_seed
        self._epoch = -1
        self._order: list[list[int]] = []
        self.batches_per_epoch = len(self._order_of(0))

    def at(self, position: int, device: torch.device) -> tuple[dict[str, Batch], int]:
        """The batch at that place of the sequence, for each reader, on the device; and the students' real tokens."""
        epoch, index = divmod(position, self.batches_per_epoch)
        rows = self._order_of(epoch)[index]
        batches = {reader: encoded.batch(rows) for reader, encoded in self.encoded.items()}
        tokens = int(batches[self.reader].lengths.sum())
        return {reader: batch.to(device) for reader, batch in batches.items()}, tokens

    def _order_of(self, epoch: int) -> list[list[int]]:
        if epoch != self._epoch:
            lengths = self.encoded[self.reader].train.lengths
            self._order = epoch_batches(lengths, self.batch_size, seed=self.data_seed, epoch=epoch)
            self._epoch = epoch
        return self._order
