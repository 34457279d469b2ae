"""Batches of runs whose stages train on different data."""

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
    """A sequence of training batches, by position: see `BatchStream`."""

    @property
    def reader(self) -> str:
        """The fingerprint of the students' tokenizer."""

    def at(self, position: int, device: torch.device) -> StepBatch:
        """The batch on the device."""

    def made(self, position: int) -> StepBatch:
        """The same on the CPU."""

    def alignments(self, position: int, reader: str, device: torch.device) -> list[Alignment]:
        """Of that reader's tokens with the students', for each group of the batch."""


class StagedStream:
    """One stream for each stage of a run, in their order, with the number of steps of each.

    A stream that several stages share continues where the last of them stopped.
    """

    def __init__(self, streams: Sequence[BatchStream], lengths: Sequence[int]) -> None:
        self.reader = streams[0].reader
        self._streams = streams
        self._begins = [0, *accumulate(lengths)][:-1]
        self._before = [
            sum(length for other, length in zip(streams[:stage], lengths, strict=False) if other is stream)
            for stage, stream in enumerate(streams)
        ]

    def at(self, position: int, device: torch.device) -> StepBatch:
        stream, place = self._find(position)
        return stream.at(place, device)

    def made(self, position: int) -> StepBatch:
        stream, place = self._find(position)
        return stream.made(place)

    def alignments(self, position: int, reader: str, device: torch.device) -> list[Alignment]:
        stream, place = self._find(position)
        return stream.alignments(place, reader, device)

    def _find(self, position: int) -> tuple[BatchStream, int]:
        """The stream of the stage at that step, and the place in it. The last stage has no end: batches may be made
        ahead."""
        stage = bisect_right(self._begins, position) - 1
        return self._streams[stage], self._before[stage] + position - self._begins[stage]
