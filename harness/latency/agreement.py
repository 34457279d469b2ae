"""How far a backend computes what eager does: by its outputs, and by what it predicts on a task's examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.api.errors import UserError
from harness.api.latency_backend import Inputs, Program
from harness.latency.model_inputs import SEED
from harness.metrics.task_scores import Scored, evaluate_outputs
from harness.tasks.batching import eval_batches
from harness.tasks.tokenization import TokenizedExamples, collate, encode

if TYPE_CHECKING:
    from harness.planning.jobs import TaskData, TokenizerRef

TOLERANCE = 1e-3
"""By which the outputs of a backend that is to be exact may differ from eager's: absolute, and relative to them."""

EXAMPLES = 256
"""At most, that the agreement of predictions is told by."""

BATCH_SIZE = 16


@dataclass(frozen=True)
class EvaluationData:
    """A task's labelled validation examples, and who reads them."""

    data: TaskData
    tokenizer_ref: TokenizerRef
    max_length: int
    metrics: Mapping[str, Callable[[], Any]]


@dataclass(frozen=True)
class Agreement:
    """Of two programs' predictions on `examples` examples: the share that is equal, or of numbers their correlation;
    and what each scores there, where labels are known."""

    agreement: float | None
    examples: int
    score: float | None
    eager_score: float | None


def deviation(
    name: str, backend: str, program: Program, eager: Program, batches: Sequence[Inputs], *, exact: bool = True
) -> float:
    """The most by which a backend's outputs differ from eager's: a fast wrong answer is not timed.

    Args:
        batches: with padding, which a backend may lose.
        exact: whether they may not differ by more than `TOLERANCE`.

    Raises:
        UserError: they do, have other shapes, or are not finite.
    """
    worst = 0.0
    for inputs in batches:
        found, right = program.bind(inputs)(), eager.bind(inputs)()
        shapes = [[list(output.shape) for output in outputs] for outputs in (found, right)]
        if shapes[0] != shapes[1]:
            raise UserError(f"latency: {backend} gives {name} outputs of shapes {shapes[0]}, and eager {shapes[1]}")
        for ours, theirs in zip(found, right, strict=True):
            off = float(np.abs(ours - theirs).max())
            if not np.isfinite(off) or (exact and not np.allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)):
                batch, length = inputs["input_ids"].shape
                raise UserError(
                    f"latency: {backend} does not compute what eager does for {name}: outputs of batch {batch}, length"
                    f" {length} differ by up to {off:.3g} (allowed: {TOLERANCE:g}), so it was not timed; leave"
                    f" {backend!r} out of latency.backends"
                )
            worst = max(worst, off)
    return worst


def agreement(program: Program, eager: Program, examples: EvaluationData) -> Agreement:
    """On the first validation split's first `EXAMPLES` examples of a seeded shuffle."""
    task = examples.data.task
    split, whole = next(iter(examples.data.splits.validation.items()))
    dataset = whole.shuffle(seed=SEED).select(range(min(EXAMPLES, len(whole))))
    encoded = encode(dataset, task, examples.tokenizer_ref.tokenizer, examples.max_length)
    padding = int(examples.tokenizer_ref.tokenizer.pad_token_id)
    ours, theirs = (
        evaluate_outputs(task, dataset, encoded, _logits(each, encoded, padding), examples.metrics, split=split)
        for each in (program, eager)
    )
    return Agreement(_agree(ours, theirs, task.kind == "regression"), len(dataset), ours.score, theirs.score)


def _logits(program: Program, encoded: TokenizedExamples, padding: int) -> list[NDArray[Any]]:
    """Of each row: [C], [1], or for QA [2, tokens], as they are scored."""
    found: list[NDArray[Any]] = [np.empty(0)] * len(encoded)
    for rows in eval_batches(encoded.lengths, BATCH_SIZE):
        outputs = program.bind(collate(encoded, rows, padding).inputs)()
        values = np.stack(outputs[:2], axis=1) if encoded.kind == "qa" else outputs[0]
        for row, value in zip(rows, values, strict=True):
            found[row] = value[:, : encoded.lengths[row]] if encoded.kind == "qa" else value
    return found


def _agree(ours: Scored, theirs: Scored, numbers: bool) -> float | None:
    one, other = ours.frame["prediction"], theirs.frame["prediction"]
    if not numbers:
        return float((one == other).mean())
    found = float(np.corrcoef(one.to_numpy(float), other.to_numpy(float))[0, 1]) if one.nunique() > 1 else float("nan")
    return found if np.isfinite(found) else None
