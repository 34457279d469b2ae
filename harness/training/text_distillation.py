"""The text stage: batches of unlabelled text, and a method with the text stage as its only stage."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.api.batch import NOT_MASKED, Batch
from harness.api.method import LossTerms, Method, Needs, Stage, Step
from harness.api.model_outputs import ModelOutputs, ModelShape
from harness.api.seeds import derive
from harness.config.training_schema import Batching
from harness.training.batch_stream import BatchStream, TokenizedTask
from harness.training.step_batch import StepBatch

AS_MASK, AS_ANOTHER = 0.8, 0.1
"""Shares of the tokens to predict that are replaced by [MASK] and by a random token; the others are left unchanged
(Devlin et al. 2019, section 3.1)."""


class TextStageMethod(Method):
    """Wraps a method so that its text stage is the only stage of the run."""

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

    def needs(self, step: Step) -> Needs:
        return self.method.needs(step)

    def learning_rates(self, step: Step) -> Mapping[str, float]:
        return self.method.learning_rates(step)

    def after_step(self, step: Step) -> None:
        self.method.after_step(step)

    def notes(self) -> Mapping[str, Any]:
        return self.method.notes()


class TextBatchStream(BatchStream):
    """The endless sequence of batches of unlabelled text; labels are the masked tokens.

    Args:
        text: the tokenized text.
        tokenizer: gives the mask token and the size of the vocabulary.
        batch_size: texts of a batch.
        masking: share of the tokens that is masked, drawn again in each epoch; 0: none.
        seed: decides the order of the texts and the masked tokens.
        batching: see `BatchStream`.
        smoothing: above 0, rare tokens are masked more often: see `General`.
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
        self._weights = _rarity_weights(text, len(tokenizer), smoothing) if smoothing else None

    def build(self, position: int) -> StepBatch:
        """The batch at `position`, masked, on the CPU."""
        data = super().build(position)
        masked = self._mask(data.whole(self.tokenizer_id), derive(self.data_seed, "masking", str(position)))
        return replace(data, batches={self.tokenizer_id: masked})

    def _mask(self, batch: Batch, seed: int) -> Batch:
        ids = batch.inputs["input_ids"]
        if not self.masking:
            return replace(batch, labels=torch.full_like(ids, NOT_MASKED))
        assert batch.word_ids is not None  # `collate` always sets them
        generator = torch.Generator().manual_seed(seed)
        chosen = self._choose(ids, batch.word_ids >= 0, generator)
        labels = ids.masked_fill(~chosen, NOT_MASKED)
        kind = torch.rand(ids.shape, generator=generator)
        others = torch.randint(len(self.tokenizer), ids.shape, generator=generator)
        masked = torch.where(chosen & (kind < AS_MASK), int(self.tokenizer.mask_token_id), ids)
        masked = torch.where(chosen & (kind >= AS_MASK) & (kind < AS_MASK + AS_ANOTHER), others, masked)
        return replace(batch, inputs={**batch.inputs, "input_ids": masked}, labels=labels)

    def _choose(self, ids: Tensor, words: Tensor, generator: torch.Generator) -> Tensor:
        """The tokens to predict, bool [B, N], out of `words`, which excludes special tokens and padding."""
        if self._weights is None:
            draws = torch.rand(ids.shape, generator=generator).masked_fill(~words, 2.0)
            return (draws < self.masking) | (draws == draws.amin(-1, keepdim=True))
        weights = self._weights[ids].masked_fill(~words, 0.0).flatten()
        count = min(math.ceil(self.masking * int(words.sum())), int((weights > 0).sum()))
        drawn = torch.multinomial(weights, count, generator=generator)
        return torch.zeros_like(weights, dtype=torch.bool).index_fill_(0, drawn, True).view_as(ids)


def _rarity_weights(text: TokenizedTask, vocabulary: int, smoothing: float) -> Tensor:
    """Sampling weights of the tokens to mask, float64 [V]: a token's count to the power of -`smoothing`."""
    counts = np.bincount(text.train.input_ids.values, minlength=vocabulary)
    return torch.from_numpy(np.maximum(counts, 1.0) ** -smoothing)
