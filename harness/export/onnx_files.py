"""Writes a model as ONNX, in float32 and int8, and compares the files with the model in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness.api.errors import UserError
from harness.latency import model_inputs, onnx
from harness.latency.agreement import TOLERANCE, deviation
from harness.latency.eager import Eager
from harness.prediction.loaded_model import LoadedModel
from harness.prediction.predictions import Texts, tokenized, torch_logits
from harness.tasks.batching import eval_batches
from harness.tasks.tokenization import TokenizedExamples, collate

FLOAT32, INT8 = "onnx/model.onnx", "onnx/model_int8.onnx"
"""Paths in an exported folder, as optimum and transformers.js expect them."""

EXAMPLES = 256
"""Largest number of texts on which the int8 model is compared."""

BATCH_SIZE = 16

CPU = torch.device("cpu")


@dataclass(frozen=True)
class OnnxFile:
    """A written ONNX file.

    Attributes:
        path: relative to the exported folder.
        deviation: largest difference of an output from the model's.
        agreement: share of `examples` texts with the same prediction (for regression, the largest difference of a value
            is in `deviation` only); None if there are no texts.
    """

    path: str
    deviation: float
    agreement: float | None = None
    examples: int = 0


def missing_packages() -> str | None:
    """Why ONNX files cannot be written here, with the remedy; None: they can."""
    missing = onnx.missing_packages()
    remedy = "install them with `pip install 'kd-harness[onnx]'`"
    return f"ONNX needs {', '.join(missing)}; {remedy}" if missing else None


def write(folder: Path, model: LoadedModel, texts: Sequence[Texts], *, float32: bool, int8: bool) -> list[OnnxFile]:
    """Write the ONNX files of a model below `folder`.

    Args:
        model: on the CPU.
        texts: columns of texts on which the int8 model is compared; may have no rows.
        float32, int8: which files to write.

    Raises:
        UserError: the model cannot be exported, or the outputs of the float32 file differ from the model's.
    """
    (folder / FLOAT32).parent.mkdir(parents=True, exist_ok=True)
    batches = _probes(model)
    try:
        onnx.export(model.model, batches[0], folder / FLOAT32)
    except Exception as error:  # an exporter may raise anything
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"--onnx: the model cannot be exported: {type(error).__name__}: {lines[0]}") from error
    files = [_compared(folder, FLOAT32, model, batches)]
    if files[0].deviation > TOLERANCE:
        raise UserError(
            f"--onnx: the outputs of the exported model differ from PyTorch by up to {files[0].deviation:.3g} (allowed:"
            f" {TOLERANCE:g}); nothing was written"
        )
    if int8:
        onnx.quantize(folder / FLOAT32, folder / INT8)
        files.append(_compared(folder, INT8, model, batches, texts))
    if not float32:
        (folder / FLOAT32).unlink()
        del files[0]
    return files


def _probes(model: LoadedModel) -> list[dict[str, torch.Tensor]]:
    """Batches of several sizes, one of them padded, up to the longest row."""
    models = [model.model]
    length = min(model.max_length, 128)
    return [
        model_inputs.batch(models, 3, max(2, length // 3), padded=True),
        model_inputs.batch(models, 1, max(2, length // 2)),
        model_inputs.batch(models, 2, model.max_length, padded=True),
    ]


def _compared(
    folder: Path,
    path: str,
    model: LoadedModel,
    batches: Sequence[dict[str, torch.Tensor]],
    texts: Sequence[Texts] = (),
) -> OnnxFile:
    program = onnx.OnnxProgram(folder / path, CPU)
    eager = Eager().program(model.model, CPU, batches[0])
    worst = deviation(path, "onnx", program, eager, batches, exact=False)
    if not texts or not len(texts[0]) or model.kind == "token_classification":
        return OnnxFile(path, worst)
    _, rows = tokenized(model, [column[:EXAMPLES] for column in texts])
    ours, theirs = _program_logits(program, rows, model), torch_logits(model, CPU, BATCH_SIZE)(rows)
    if model.kind == "regression":
        return OnnxFile(path, max(worst, float(np.abs(np.stack(ours) - np.stack(theirs)).max())))
    same = [np.array_equal(_decision(one, model), _decision(two, model)) for one, two in zip(ours, theirs, strict=True)]
    return OnnxFile(path, worst, float(np.mean(same)), len(same))


def _program_logits(program: onnx.OnnxProgram, rows: TokenizedExamples, model: LoadedModel) -> list[NDArray[Any]]:
    """Logits of each row: [C], or [2, tokens] for QA."""
    logits: list[NDArray[Any]] = [np.empty(0)] * len(rows)
    for batch in eval_batches(rows.lengths, BATCH_SIZE):
        collated = collate(rows, batch, int(model.tokenizer.pad_token_id or 0))
        outputs = program.bind(collated.inputs)()
        values = np.stack(outputs[:2], axis=1) if model.kind == "qa" else outputs[0]
        for row, value in zip(batch, values, strict=True):
            logits[row] = value[:, : rows.lengths[row]] if model.kind == "qa" else value
    return logits


def _decision(logits: NDArray[Any], model: LoadedModel) -> NDArray[Any]:
    """What is predicted from the logits of a row: the class, the classes, or the tokens of start and end."""
    decision: NDArray[Any] = logits > 0 if model.kind == "multilabel" else logits.argmax(-1)
    return decision
