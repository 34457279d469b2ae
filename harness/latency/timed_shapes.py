"""The batches to time: fixed shapes, and batches with the lengths of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.api.latency_backend import Inputs
from harness.config.latency_schema import LatencySpec
from harness.latency import model_inputs
from harness.latency.agreement import EvaluationData
from harness.storage.latency_records import TASK, InputShape
from harness.tasks.tokenization import encode

if TYPE_CHECKING:
    from transformers import PreTrainedModel

POOL = 16
"""Number of batches with a task's lengths per batch size. A round takes one of them, the same for all models."""


def task_lengths(examples: EvaluationData) -> NDArray[np.int64]:
    """[examples]: token counts of all validation examples with the students' tokenizer; for QA, of all windows."""
    lengths = (
        encode(split, examples.data.task, examples.tokenizer_ref.tokenizer, examples.max_length).lengths
        for split in examples.data.splits.validation.values()
    )
    return np.concatenate(list(lengths))


def batches(
    models: Sequence[PreTrainedModel], settings: LatencySpec, lengths: NDArray[np.int64] | None
) -> dict[InputShape, list[Inputs]]:
    """shape -> its batches, the longest last: one for a fixed shape, `POOL` for the task's lengths.

    Args:
        lengths: the result of `task_lengths`; needed if the settings contain the length ``task``.
    """
    shapes: dict[InputShape, list[Inputs]] = {}
    for size in sorted(set(settings.batch_sizes)):
        for length in settings.fixed_lengths:
            shapes[size, length] = [model_inputs.batch(models, size, length)]
        if settings.includes_task_lengths and lengths is not None:
            shapes[size, TASK] = [model_inputs.rows(models, row) for row in task_batches(lengths, size)]
    return shapes


def task_batches(lengths: NDArray[np.int64], size: int) -> list[list[int]]:
    """`POOL` batches of `size` lengths, sorted by their longest row.

    The lengths are evenly spaced quantiles of the distribution, so that few batches represent it, in random (seeded)
    order.
    """
    levels = (np.arange(POOL * size) + 0.5) / (POOL * size)
    quantiles = np.quantile(lengths, levels, method="inverted_cdf").astype(int)
    shuffled = np.random.Generator(np.random.PCG64(model_inputs.SEED)).permutation(quantiles).reshape(POOL, size)
    return sorted(shuffled.tolist(), key=max)


def largest(shapes: Mapping[InputShape, Sequence[Inputs]]) -> tuple[int, int]:
    """The largest batch size and the largest length of all batches."""
    sizes = [batch["input_ids"].shape for group in shapes.values() for batch in group]
    return max(size for size, _ in sizes), max(length for _, length in sizes)


def probes(models: Sequence[PreTrainedModel], shapes: Mapping[InputShape, Sequence[Inputs]]) -> list[Inputs]:
    """Padded batches for the comparison with eager: the smallest and the largest shape, of at least two rows."""
    sizes = [tuple(batch["input_ids"].shape) for group in shapes.values() for batch in group]
    corners = {(max(2, pick(b for b, _ in sizes)), pick(n for _, n in sizes)) for pick in (min, max)}
    return [model_inputs.batch(models, *corner, padded=True) for corner in sorted(corners)]
