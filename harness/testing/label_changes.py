"""Batches with other labels or with class weights, and the terms that they change."""

from __future__ import annotations

from dataclasses import replace

import torch

from harness.api.batch import IGNORED, NOT_MASKED, Batch
from harness.testing.method_cases import CLASSES, Case

CLASS_WEIGHTS = (5.0, 0.5, 0.1)
"""Weights of the classes of a tiny task."""

WITH_CLASS_WEIGHTS = ("classification", "multilabel", "token_classification")
"""Kinds of task whose classes may have weights."""


def reads_labels(case: Case, name: str) -> bool:
    """Whether other labels change the term."""
    return _changes(case, name, with_other_labels(case.batch))


def ignores_class_weights(case: Case, name: str) -> bool:
    """Whether the term reads the labels, and no class weights although a task of this kind may have some."""
    if case.batch.kind not in WITH_CLASS_WEIGHTS or name in case.random or not reads_labels(case, name):
        return False
    return not _changes(case, name, replace(case.batch, class_weights=torch.tensor(CLASS_WEIGHTS)))


def _changes(case: Case, name: str, batch: Batch) -> bool:
    return replace(case, batch=batch).values().get(name) != case.values()[name]


def with_other_labels(batch: Batch) -> Batch:
    """The batch with another label for each example, token or masked token."""
    labels = batch.labels
    others = {
        "classification": lambda: (labels + 1) % CLASSES,
        "multilabel": lambda: 1 - labels,
        "regression": lambda: labels + 1,
        "token_classification": lambda: torch.where(labels == IGNORED, labels, (labels + 1) % CLASSES),
        "qa": lambda: torch.zeros_like(labels),
        "text": lambda: torch.where(labels == NOT_MASKED, labels, labels - 1),
    }
    return replace(batch, labels=others[batch.kind]())
