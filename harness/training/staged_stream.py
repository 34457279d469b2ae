"""The batches of runs whose stages train on different data sets, or with different batch sizes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol

import torch

from harness.training.batch_stream import BatchStream
from harness.training.step_batch import StepBatch
from harness.training.token_alignment import Alignment


class BatchSource(Protocol):
    """A sequence of training batches with random access by position: see `BatchStream`."""

    @property
    def tokenizer_id(self) -> str:
        """Fingerprint of the students' tokenizer."""

    def at(self, position: int, device: torch.device) -> StepBatch:
        """The batch at `position`, on `device`."""

    def build(self, position: int) -> StepBatch:
        """The batch at `position`, on the CPU."""

    def alignments(self, position: int, tokenizer_id: str, device: torch.device) -> list[Alignment]:
        """Alignments of another tokenizer's tokens with the students', one for each group of the batch."""


class StagedStream:
    """Concatenates one stream per stage of a run.

    A stream that several stages share continues where the previous of them stopped.

    Args:
        streams: one for each stage, in order.
        lengths: the number of steps of each stage.
    """

    def __init__(self, streams: Sequence[BatchStream], lengths: Sequence[int]) -> None:
        self.tokenizer_id = streams[0].tokenizer_id
        self._streams = streams
        self._begins = [0, *accumulate(lengths)][:-1]
        self._before = [
            sum(length for other, length in zip(streams[:stage], lengths, strict=False) if other is stream)
            for stage, stream in enumerate(streams)
        ]

    def at(self, position: int, device: torch.device) -> StepBatch:
        """The batch of step `position`, on `device`."""
        stream, index = self._find(position)
        return stream.at(index, device)

    def build(self, position: int) -> StepBatch:
        """The batch of step `position`, on the CPU."""
        stream, index = self._find(position)
        return stream.build(index)

    def alignments(self, position: int, tokenizer_id: str, device: torch.device) -> list[Alignment]:
        """Alignments of another tokenizer's tokens with the students', one for each group of the batch."""
        stream, index = self._find(position)
        return stream.alignments(index, tokenizer_id, device)

    def _find(self, position: int) -> tuple[BatchStream, int]:
        """The stream of the stage at step `position`, and the position in that stream.

        Positions after the last step belong to the last stage: the prefetcher requests one of them.
        """
        stage = bisect_right(self._begins, position) - 1
        return self._streams[stage], self._before[stage] + position - self._begins[stage]
