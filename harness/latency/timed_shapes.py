"""What is timed: batches of fixed shapes, and batches of a task's own lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.api.latency_backend import Inputs
from harness.config.schema import LatencySpec
from harness.latency import model_inputs
from harness.latency.agreement import Examples
from harness.storage.latency_records import TASK, Shape
from harness.tasks.tokenization import encode

if TYPE_CHECKING:
    from transformers import PreTrainedModel

POOL = 16
"""Different batches of a task's lengths, for each batch size: rounds go through them, all models through the same."""


def task_lengths(examples: Examples) -> NDArray[np.int64]:
    """The tokens of every validation example, of all splits, as the students read them; for QA of every window."""
    read = (
        encode(split, examples.data.task, examples.reader.tokenizer, examples.max_length).lengths
        for split in examples.data.splits.validation.values()
    )
    return np.concatenate(list(read))


def batches(
    models: Sequence[PreTrainedModel], settings: LatencySpec, lengths: NDArray[np.int64] | None
) -> dict[Shape, list[Inputs]]:
    """Shape -> the batches that rounds take in turn, the longest last: one of a fixed shape, `POOL` of the task's.

    `lengths` are the tokens of the task's validation examples, needed where the settings ask for them.
    """
    found: dict[Shape, list[Inputs]] = {}
    for size in sorted(set(settings.batch_sizes)):
        for length in settings.fixed_lengths:
            found[size, length] = [model_inputs.batch(models, size, length)]
        if settings.includes_task_lengths and lengths is not None:
            found[size, TASK] = [model_inputs.rows(models, each) for each in task_batches(lengths, size)]
    return found


def task_batches(lengths: NDArray[np.int64], size: int) -> list[list[int]]:
    """`POOL` batches of `size` lengths, by their longest.

    Their rows are the distribution's quantiles at evenly spaced places, so that few batches stand for all of it, and
    are shared out at random (seeded), as examples that come in no order are.
    """
    places = (np.arange(POOL * size) + 0.5) / (POOL * size)
    rows = np.quantile(lengths, places, method="inverted_cdf").astype(int)
    mixed = np.random.Generator(np.random.PCG64(model_inputs.SEED)).permutation(rows).reshape(POOL, size)
    return sorted(mixed.tolist(), key=max)


def largest(shapes: Mapping[Shape, Sequence[Inputs]]) -> tuple[int, int]:
    """The most examples of a batch, and the most tokens of an example."""
    sizes = [batch["input_ids"].shape for group in shapes.values() for batch in group]
    return max(size for size, _ in sizes), max(length for _, length in sizes)


def probes(models: Sequence[PreTrainedModel], shapes: Mapping[Shape, Sequence[Inputs]]) -> list[Inputs]:
    """Padded batches, by which a backend's outputs are compared with eager's: the smallest and the largest that are
    timed, but of two examples at least."""
    sizes = [tuple(batch["input_ids"].shape) for group in shapes.values() for batch in group]
    corners = {(max(2, pick(b for b, _ in sizes)), pick(n for _, n in sizes)) for pick in (min, max)}
    return [model_inputs.batch(models, *corner, padded=True) for corner in sorted(corners)]
