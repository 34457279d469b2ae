"""Estimate how many tokens a row of a padded batch has, from a sample of a task's texts, without tokenizing them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from harness.storage.derived_values import derived
from harness.storage.frozen_model import FrozenModel
from harness.tasks.features import text_columns, texts_of

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.config.training_schema import TrainingSpec
    from harness.planning.job_inputs import TaskData

SAMPLE = 256
"""Number of examples in the sample."""

TOKEN_BYTES = 4.5
"""UTF-8 bytes of a token: English words and their parts; two thirds of a token for a Chinese character."""

SPECIAL_TOKENS = 3

PADDING = {"grouped": 1.2, "bucketed": 1.05}
"""Computed tokens per real token where a batch, or its groups, hold rows of similar length."""


class BatchLengths:
    """Estimates of tokens per row, each made once: the runs of a task share its data."""

    def __init__(self) -> None:
        self._samples: dict[str, Sequence[float]] = {}

    def tokens(self, data: TaskData, training: TrainingSpec) -> float:
        """Return the mean number of tokens of a row of a batch, padding included.

        A random batch is padded to its longest row: of B rows, that is the quantile B / (B + 1) of the lengths.
        """
        if data.train_fingerprint not in self._samples:
            inputs = {"train": data.train_fingerprint}
            sample = derived("text_lengths", inputs, _Sample, lambda: _sampled_lengths(data.splits.train))
            self._samples[data.train_fingerprint] = sample.lengths
        lengths = np.minimum(self._samples[data.train_fingerprint], training.max_length)
        if training.batching == "random":
            batch = training.max_batch_size
            return float(np.quantile(lengths, batch / (batch + 1)))
        return min(float(training.max_length), PADDING[training.batching] * float(np.mean(lengths)))


class _Sample(FrozenModel):
    """Estimated numbers of tokens of randomly chosen examples."""

    lengths: list[float]


def _sampled_lengths(examples: Dataset) -> _Sample:
    count = min(SAMPLE, len(examples))
    sample = examples.select(np.sort(np.random.default_rng(0).choice(len(examples), count, replace=False)))
    columns = [texts_of(sample[column]) for column in text_columns(sample)]
    lengths = [
        SPECIAL_TOKENS + sum(len(text.encode()) for text in texts) / TOKEN_BYTES for texts in zip(*columns, strict=True)
    ]
    return _Sample(lengths=lengths)
