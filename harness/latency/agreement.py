"""Compares a backend with eager PyTorch: by its outputs, and by its predictions on examples of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.api.errors import UserError
from harness.api.latency_backend import Inputs, Program
from harness.latency.model_inputs import SEED
from harness.metrics.task_scores import TaskScores, evaluate_outputs
from harness.tasks.batching import eval_batches
from harness.tasks.tokenization import TokenizedExamples, collate, encode
from harness.training.scoring import without_padding

if TYPE_CHECKING:
    from harness.api.metric import MetricFactory
    from harness.planning.job_inputs import TaskData, TokenizerRef

TOLERANCE = 1e-3
"""Largest absolute and relative difference between the outputs of an exact backend and of eager."""

EXAMPLES = 256
"""Largest number of examples that predictions are compared on."""

BATCH_SIZE = 16


@dataclass(frozen=True)
class EvaluationData:
    """The labelled validation examples of a task, with tokenizer and metrics."""

    data: TaskData
    tokenizer_ref: TokenizerRef
    max_length: int
    metrics: Mapping[str, MetricFactory]


@dataclass(frozen=True)
class Agreement:
    """The agreement of a backend's predictions with eager's.

    Attributes:
        agreement: share of equal predictions, for regression their correlation; None if the correlation is undefined.
        examples: number of examples.
        score: the score of the backend; None if the labels are hidden.
        eager_score: the score of eager on the same examples.
    """

    agreement: float | None
    examples: int
    score: float | None
    eager_score: float | None


def deviation(
    name: str, backend: str, program: Program, eager: Program, batches: Sequence[Inputs], *, exact: bool = True
) -> float:
    """The largest absolute difference between the outputs of a backend and of eager.

    Outputs of padding are not compared: nothing reads them, and they depend on how attention treats rows without keys.

    Args:
        name: of the model, for messages.
        batches: padded batches, so that a backend that ignores the attention mask is detected.
        exact: whether a difference above `TOLERANCE` is an error.

    Raises:
        UserError: shapes differ, a value is not finite, or `exact` is violated.
    """
    worst = 0.0
    for inputs in batches:
        outputs, expected = program.bind(inputs)(), eager.bind(inputs)()
        shapes = [[list(output.shape) for output in outputs] for outputs in (outputs, expected)]
        if shapes[0] != shapes[1]:
            raise UserError(
                f"latency: shapes of the outputs of {name} differ: {backend} {shapes[0]}, eager {shapes[1]}; leave"
                f" {backend!r} out of latency.backends"
            )
        for found, wanted in zip(outputs, expected, strict=True):
            ours, theirs = _without_padding(found, inputs), _without_padding(wanted, inputs)
            difference = float(np.abs(ours - theirs).max())
            if not np.isfinite(difference) or (exact and not np.allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)):
                batch, length = inputs["input_ids"].shape
                raise UserError(
                    f"latency: the outputs of {backend} and eager differ for {name}: by up to {difference:.3g} at batch"
                    f" {batch}, length {length} (allowed: {TOLERANCE:g}). It was not timed; leave {backend!r} out of"
                    " latency.backends"
                )
            worst = max(worst, difference)
    return worst


def _without_padding(output: NDArray[Any], inputs: Inputs) -> NDArray[Any]:
    """The values of real tokens if `output` is [B, T, ...] for inputs [B, T], else all of it."""
    real = inputs["attention_mask"].bool().cpu().numpy()
    values: NDArray[Any] = output[real] if output.shape[:2] == real.shape else output
    return values


def agreement(program: Program, eager: Program, examples: EvaluationData) -> Agreement:
    """Compare predictions on up to `EXAMPLES` random examples of the first validation split."""
    task = examples.data.task
    split, validation = next(iter(examples.data.splits.validation.items()))
    dataset = validation.shuffle(seed=SEED).select(range(min(EXAMPLES, len(validation))))
    encoded = encode(dataset, task, examples.tokenizer_ref.tokenizer, examples.max_length)
    padding = int(examples.tokenizer_ref.tokenizer.pad_token_id)
    ours, theirs = (
        evaluate_outputs(task, dataset, encoded, _logits(compared, encoded, padding), examples.metrics, split=split)
        for compared in (program, eager)
    )
    share = _prediction_agreement(ours, theirs, regression=task.kind == "regression")
    return Agreement(share, len(dataset), ours.score, theirs.score)


def _logits(program: Program, encoded: TokenizedExamples, padding: int) -> list[NDArray[Any]]:
    """The logits of each row, as of `harness.training.scoring.logits`."""
    logits: list[NDArray[Any]] = [np.empty(0)] * len(encoded)
    for rows in eval_batches(encoded.lengths, BATCH_SIZE):
        outputs = program.bind(collate(encoded, rows, padding).inputs)()
        values = np.stack(outputs[:2], axis=1) if encoded.kind == "qa" else outputs[0]
        for row, value in zip(rows, values, strict=True):
            logits[row] = without_padding(value, int(encoded.lengths[row]), encoded.kind)
    return logits


def _prediction_agreement(ours: TaskScores, theirs: TaskScores, *, regression: bool) -> float | None:
    one, other = ours.frame["prediction"], theirs.frame["prediction"]
    if not regression:
        return float((one == other).mean())
    if one.nunique() <= 1:
        return None
    correlation = float(np.corrcoef(one.to_numpy(float), other.to_numpy(float))[0, 1])
    return correlation if np.isfinite(correlation) else None
