"""A model's logits on a task's validation splits, or on what is held out to choose on, and what they score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch

from harness.evaluation.predictions import Scored, combine, evaluate_outputs
from harness.models.capture import Capture
from harness.tasks.batches import eval_batches
from harness.tasks.encode import Encoded, collate
from harness.training.data import EncodedTask


def score(
    capture: Capture,
    data: EncodedTask,
    metrics: Mapping[str, Any],
    *,
    batch_size: int,
    device: torch.device,
    part: Literal["validation", "selection"] = "validation",
) -> Scored:
    """Score a model on every validation split; with `part` ``selection`` on the examples to choose on, which are the
    validation splits too where none are held out. Always in the weights' own precision."""
    examples, rows = data.splits.validation, data.validation
    if part == "selection" and data.splits.selection is not None and data.selection is not None:
        examples, rows = {part: data.splits.selection}, {part: data.selection}
    scored = {}
    for name, encoded in rows.items():
        outputs = logits(capture, encoded, data.pad_token_id, batch_size=batch_size, device=device)
        scored[name] = evaluate_outputs(data.task, examples[name], encoded, outputs, metrics, split=name)
    return combine(scored)


def logits(
    capture: Capture, encoded: Encoded, pad_token_id: int, *, batch_size: int, device: torch.device
) -> list[np.ndarray]:
    """One array for each row, in the rows' order: [C], [1], or for QA [2, tokens] without padding."""
    capture.model.eval()
    outputs: list[np.ndarray] = [np.empty(0)] * len(encoded.ids)
    for rows in eval_batches(encoded.lengths, batch_size):
        batch = collate(encoded, rows, pad_token_id).to(device)
        with torch.no_grad():
            values = capture.run(batch.inputs, ["logits"], answer_mask=batch.answer_mask).logits.float().cpu().numpy()
        for row, value in zip(rows, values, strict=True):
            outputs[row] = value[:, : encoded.lengths[row]] if batch.kind == "qa" else value
    return outputs
