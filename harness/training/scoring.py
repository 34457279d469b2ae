"""A model's logits on a task's validation splits, or on what is held out to choose on, and what they score."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import numpy as np
import torch

from harness.api.batch import Batch
from harness.metrics.task_scores import TaskScores, combine_splits, evaluate_outputs
from harness.models.capture import Capture
from harness.tasks.batching import eval_batches
from harness.tasks.tokenization import TokenizedExamples, collate
from harness.training import finite_checks, micro_batching
from harness.training.batch_stream import TokenizedTask

AT_ONCE = 32
"""Examples of a forward pass. Always as many: a score depends in its last bits on them, and on no setting of training.
What `VERSION` stands for."""

Part = Literal["validation", "selection"]
"""What a model is scored on: the validation splits, or the examples that are held out for selection."""


def score(
    capture: Capture,
    data: TokenizedTask,
    metrics: Mapping[str, Any],
    *,
    device: torch.device,
    part: Part = "validation",
    batch_size: int = AT_ONCE,
) -> TaskScores:
    """Score a model on every validation split; with `part` ``selection`` on the examples to choose on, which are the
    validation splits too where none are held out. Always in the weights' own precision.

    Raises:
        InsufficientMemory: memory does not suffice for one example.
        NotFinite: a weight or a logit is NaN or infinite. A score would be that of the first class.
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
    capture: Capture, encoded: TokenizedExamples, pad_token_id: int, *, device: torch.device, batch_size: int = AT_ONCE
) -> list[np.ndarray]:
    """One array for each row, in the rows' order: [C], [1], or for QA [2, tokens] without padding. In smaller batches
    where memory does not suffice."""
    capture.model.eval()
    outputs: list[np.ndarray] = [np.empty(0)] * len(encoded.ids)
    for rows in eval_batches(encoded.lengths, batch_size):
        batch = collate(encoded, rows, pad_token_id)
        values, batch_size = micro_batching.fitting(partial(_logits, capture, batch, device), batch_size)
        for row, value in zip(rows, values, strict=True):
            outputs[row] = value[:, : encoded.lengths[row]] if batch.kind == "qa" else value
    return outputs


def _logits(capture: Capture, batch: Batch, device: torch.device, size: int) -> np.ndarray:
    """Of a batch, `size` examples at a time."""
    found = []
    for part in micro_batching.parts(len(batch.ids), size):
        read = batch.part(part).to(device)
        with torch.no_grad():
            found.append(capture.run(read.inputs, ["logits"], answer_mask=read.answer_mask).logits.float().cpu())
    return torch.cat(found).numpy()
