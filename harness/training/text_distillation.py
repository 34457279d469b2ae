"""A general stage in training: unlabelled text as batches, and a method that has no stage but this."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.api.batch import NOT_MASKED, Batch
from harness.api.method import LossTerms, Method, Stage, Step
from harness.api.model_outputs import ModelOutputs, ModelShape
from harness.api.seeds import derive
from harness.config.schema import Batching
from harness.training.batch_stream import BatchStream, TokenizedTask
from harness.training.step_batch import StepBatch

AS_MASK, AS_ANOTHER = 0.8, 0.1
"""Of the tokens that are to be predicted, how many stand as [MASK] and how many as any token (Devlin et al. 2019,
section 3.1); the others stand as they are."""


class TextStageMethod(Method):
    """A method's general stage as the only stage of a run."""

    min_teachers = max_teachers = 1

    def __init__(self, method: Method, stage: Stage) -> None:
        super().__init__(
            method.config, task=method.task, student=method.student, teachers=method.teachers, seed=method.seed
        )
        self.method = method
        self.stage = stage

    def stages(self) -> Sequence[Stage]:
        return [self.stage]

    def modules(self, student: ModelShape, teachers: Sequence[ModelShape]) -> nn.ModuleDict:
        return self.method.modules(student, teachers)

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        return self.method.losses(step, batch, student, teachers)

    def weights(self, step: Step) -> Mapping[str, float]:
        return self.method.weights(step)

    def notes(self) -> Mapping[str, Any]:
        return self.method.notes()


class TextBatchStream(BatchStream):
    """The endless sequence of batches of unlabelled text.

    A share `masking` of the tokens is masked anew each time that a text comes (none if it is 0); the labels are those
    tokens. With `smoothing` rare tokens are masked more often: see `General`.
    """

    def __init__(
        self,
        text: TokenizedTask,
        tokenizer: Any,
        *,
        batch_size: int,
        masking: float,
        seed: int,
        batching: Batching = "random",
        smoothing: float = 0.0,
    ) -> None:
        super().__init__(text, batch_size=batch_size, data_seed=seed, batching=batching)
        self.tokenizer = tokenizer
        self.masking = masking
        self._weights = _by_rarity(text, len(tokenizer), smoothing) if smoothing else None

    def made(self, position: int) -> StepBatch:
        made = super().made(position)
        masked = self._masked(made.whole(self.reader), derive(self.data_seed, "masking", str(position)))
        return replace(made, batches={self.reader: masked})

    def _masked(self, batch: Batch, seed: int) -> Batch:
        ids = batch.inputs["input_ids"]
        if not self.masking:
            return replace(batch, labels=torch.full_like(ids, NOT_MASKED))
        assert batch.word_ids is not None  # of every batch that is collated
        generator = torch.Generator().manual_seed(seed)
        chosen = self._chosen(ids, batch.word_ids >= 0, generator)
        labels = ids.masked_fill(~chosen, NOT_MASKED)
        kind = torch.rand(ids.shape, generator=generator)
        others = torch.randint(len(self.tokenizer), ids.shape, generator=generator)
        shown = torch.where(chosen & (kind < AS_MASK), int(self.tokenizer.mask_token_id), ids)
        shown = torch.where(chosen & (kind >= AS_MASK) & (kind < AS_MASK + AS_ANOTHER), others, shown)
        return replace(batch, inputs={**batch.inputs, "input_ids": shown}, labels=labels)

    def _chosen(self, ids: Tensor, words: Tensor, generator: torch.Generator) -> Tensor:
        """The tokens to predict, bool [B, N], of those that are `words` and not special tokens."""
        if self._weights is None:
            draws = torch.rand(ids.shape, generator=generator).masked_fill(~words, 2.0)
            return (draws < self.masking) | (draws == draws.amin(-1, keepdim=True))
        weights = self._weights[ids].masked_fill(~words, 0.0).flatten()
        count = min(math.ceil(self.masking * int(words.sum())), int((weights > 0).sum()))
        drawn = torch.multinomial(weights, count, generator=generator)
        return torch.zeros_like(weights, dtype=torch.bool).index_fill_(0, drawn, True).view_as(ids)


def _by_rarity(text: TokenizedTask, vocabulary: int, smoothing: float) -> Tensor:
    """The weight of each token in the draw of those to mask, float64 [V]: its count to the power of -`smoothing`."""
    counts = np.bincount(text.train.input_ids.values, minlength=vocabulary)
    return torch.from_numpy(np.maximum(counts, 1.0) ** -smoothing)
