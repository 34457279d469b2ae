"""Computes a model's logits on validation or selection splits, and scores them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch

from harness.api.batch import TOKEN_LABELS, Batch, TaskKind
from harness.metrics.task_scores import TaskScores, combine_splits, evaluate_outputs
from harness.models.capture import Capture
from harness.tasks.batching import eval_batches
from harness.tasks.tokenization import TokenizedExamples, collate
from harness.training import finite_checks, micro_batching, precision
from harness.training.batch_stream import TokenizedTask

BATCH_SIZE = 32
"""Examples per forward pass. Fixed, because the last bits of a score depend on it. Part of `VERSION`."""

Part = Literal["validation", "selection"]
"""What a model is scored on: the validation splits, or the examples that are held out for selection."""


def score(
    capture: Capture,
    data: TokenizedTask,
    metrics: Mapping[str, Any],
    *,
    device: torch.device,
    part: Part = "validation",
    batch_size: int = BATCH_SIZE,
) -> TaskScores:
    """Score a model on every validation split, in the precision of its weights.

    With `part` ``selection`` it is scored on the held-out selection split; without one, on the validation splits.

    Raises:
        InsufficientMemory: memory does not suffice for one example.
        NotFinite: a weight or a logit is NaN or infinite.
    """
    finite_checks.check_weights(capture.model, "when the model is scored")
    examples, rows = data.splits.validation, data.validation
    if part == "selection" and data.splits.selection is not None and data.selection is not None:
        examples, rows = {part: data.splits.selection}, {part: data.selection}
    scored = {}
    for name, encoded in rows.items():
        outputs = logits(capture, encoded, data.pad_token_id, batch_size=batch_size, device=device)
        finite_checks.check_logits(outputs, encoded.ids, name)
        scored[name] = evaluate_outputs(data.task, examples[name], encoded, outputs, metrics, split=name)
    return combine_splits(scored)


def logits(
    capture: Capture,
    encoded: TokenizedExamples,
    pad_token_id: int,
    *,
    device: torch.device,
    batch_size: int = BATCH_SIZE,
) -> list[np.ndarray]:
    """Logits of each row, in order: [C], [1] for regression; per token, without padding, [tokens, C] for token
    classification and [2, tokens] for QA.

    Batches that do not fit in memory are split.
    """
    capture.model.eval()
    outputs: list[np.ndarray] = [np.empty(0)] * len(encoded.ids)
    for rows in eval_batches(encoded.lengths, batch_size):
        batch = collate(encoded, rows, pad_token_id)
        retry = micro_batching.MemoryRetry(batch_size)
        for batch_size in retry:
            with retry:
                values = _logits(capture, batch, device, batch_size)
        for row, value in zip(rows, values, strict=True):
            outputs[row] = without_padding(value, int(encoded.lengths[row]), batch.kind)
    return outputs


def without_padding(logits: np.ndarray, tokens: int, kind: TaskKind) -> np.ndarray:
    """The logits of one row, cut to its `tokens` tokens if they are per token."""
    if kind in TOKEN_LABELS:
        return logits[:tokens]
    return logits[:, :tokens] if kind == "qa" else logits


def _logits(capture: Capture, batch: Batch, device: torch.device, size: int) -> np.ndarray:
    """Logits of a batch, computed `size` examples at a time."""
    logits = []
    for rows in micro_batching.slices(len(batch.ids), size):
        part = batch.part(rows).to(device)
        with torch.no_grad(), precision.tf32_products(False, device):
            logits.append(capture.run(part.inputs, ["logits"], answer_mask=part.answer_mask).logits.float().cpu())
    return torch.cat(logits).numpy()
