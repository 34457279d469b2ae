"""Runs a model on texts, in batches of similar length: labels with scores, values, answers or entities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.api.task import Splits, Task
from harness.metrics.qa_spans import best_spans
from harness.prediction.entities import entities_of_texts
from harness.prediction.loaded_model import LoadedModel
from harness.tasks.features import SENTENCES
from harness.tasks.tokenization import TokenizedExamples, encode

if TYPE_CHECKING:
    import torch
    from datasets import Dataset

    from harness.api.batch import TaskKind

CHUNK = 1024
"""Texts that are tokenized and sorted by length at once."""

THRESHOLD = 0.5
"""Probability above which a class of a multilabel model is predicted."""

Texts = Sequence[str]
Output = Mapping[str, list[Any]]
"""Name of a column -> its value for each text."""

Logits = Callable[[TokenizedExamples], list[NDArray[Any]]]
"""Computes the logits of tokenized rows, in their order."""


def predict(
    model: LoadedModel,
    texts: Sequence[Texts],
    device: torch.device,
    *,
    batch_size: int,
    scores: bool = False,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Output:
    """Predict each text, or each pair of texts. The result does not depend on the order of the texts.

    Args:
        texts: the columns that the model reads, one or two; for QA questions and contexts.
        scores: whether to add the probability of every class.
        on_progress: called with the number of texts that are done.

    Returns:
        classification: ``label``, ``score`` (its probability); multilabel: ``labels``, ``scores``; regression:
        ``value``; QA: ``answer``, ``score`` (sum of the start and the end logit); token classification: ``entities``
        (see `harness.prediction.entities`). With `scores`, also ``score_<class>`` for each class.

    Raises:
        UserError: the tokenizer cannot be used.
        NotFinite: a logit is NaN or infinite.
    """
    model.model.to(device)
    columns: dict[str, list[Any]] = {name: [] for name in column_names(model, scores=scores)}
    for first in range(0, len(texts[0]), CHUNK):
        chunk = [column[first : first + CHUNK] for column in texts]
        output = _output(model, chunk, torch_logits(model, device, batch_size), scores=scores)
        for name, values in output.items():
            columns[name] += values
        on_progress(first + len(chunk[0]))
    return columns


def column_names(model: LoadedModel, *, scores: bool) -> list[str]:
    """The columns that `predict` returns for a model."""
    names = {
        "classification": ["label", "score"],
        "multilabel": ["labels", "scores"],
        "regression": ["value"],
        "qa": ["answer", "score"],
        "token_classification": ["entities"],
    }[model.kind]
    return names + ([f"score_{label}" for label in model.labels] if scores and _has_class_scores(model) else [])


def torch_logits(model: LoadedModel, device: torch.device, batch_size: int) -> Logits:
    """Return a function that computes logits with the model itself."""
    from harness.models.capture import Capture
    from harness.training import finite_checks, scoring

    capture, padding = Capture(model.model), int(model.tokenizer.pad_token_id or 0)

    def compute(rows: TokenizedExamples) -> list[NDArray[Any]]:
        logits = scoring.logits(capture, rows, padding, device=device, batch_size=batch_size)
        finite_checks.check_logits(logits, rows.ids, "the file")
        return logits

    return compute


def tokenized(model: LoadedModel, texts: Sequence[Texts]) -> tuple[Dataset, TokenizedExamples]:
    """The texts as examples, and their tokens: as in the training of a task of this kind."""
    from datasets import Dataset

    ids = [str(row) for row in range(len(texts[0]))]
    names: Sequence[str] = SENTENCES.get(model.kind, ("text", "text_pair"))
    unknown: dict[str, list[Any]] = {"label": [0] * len(ids)}
    if model.kind == "qa":
        unknown = {"answers": [[] for _ in ids]}
    elif model.kind == "token_classification":  # a text has at most as many words as characters
        unknown = {"tags": [[0] * len(text) for text in texts[0]]}
    examples = Dataset.from_dict({"id": ids, **dict(zip(names, map(list, texts), strict=False)), **unknown})
    kind: TaskKind = model.kind if model.kind in SENTENCES else "classification"
    task = Task("file", kind, partial(Splits, examples, {}), (), "", labels=model.labels)
    return examples, encode(examples, task, model.tokenizer, model.max_length, places=kind == "token_classification")


def _output(model: LoadedModel, texts: Sequence[Texts], compute: Logits, *, scores: bool) -> Output:
    examples, rows = tokenized(model, texts)
    logits = compute(rows)
    if model.kind == "qa":
        spans = best_spans(examples, rows, logits, unanswerable=model.unanswerable)
        return {"answer": [span.text for span in spans], "score": [_finite(span.score) for span in spans]}
    if model.kind == "token_classification":
        return {"entities": entities_of_texts(texts[0], rows, logits, model.labels)}
    outputs = np.stack(logits).astype(np.float64)
    if model.kind == "regression":
        return {"value": outputs[:, 0].tolist()}
    found = _classes(model, outputs)
    if scores:
        found |= dict(
            zip((f"score_{label}" for label in model.labels), probabilities(model, outputs).T.tolist(), strict=True)
        )
    return found


def _classes(model: LoadedModel, outputs: NDArray[np.float64]) -> dict[str, list[Any]]:
    shares = probabilities(model, outputs)
    if model.kind == "classification":
        best = outputs.argmax(-1)
        return {"label": [model.labels[index] for index in best], "score": shares[np.arange(len(best)), best].tolist()}
    chosen = [np.flatnonzero(row > THRESHOLD) for row in shares]
    return {
        "labels": [[model.labels[index] for index in row] for row in chosen],
        "scores": [shares[number, row].tolist() for number, row in enumerate(chosen)],
    }


def probabilities(model: LoadedModel, logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of the classes: softmax over them, or a sigmoid of each for multilabel models."""
    if model.kind == "multilabel":
        sigmoid: NDArray[np.float64] = 0.5 * (1 + np.tanh(logits / 2))
        return sigmoid
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(-1, keepdims=True)
    return shares


def _has_class_scores(model: LoadedModel) -> bool:
    return model.kind in ("classification", "multilabel")


def _finite(score: float) -> float | None:
    return score if np.isfinite(score) else None
