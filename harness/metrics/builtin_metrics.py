"""Registration of the built-in metrics. Their classes are in `_evaluate_metrics`, since `evaluate` is slow to import.

A metric is an `evaluate.Metric`. ``metric.compute(predictions=..., references=...)`` takes, in the order of the
examples:

- classification: lists of class indices;
- multilabel: for each example a list with 0 or 1 for each class;
- regression: lists of floats;
- token classification: for each example a list of tag names, one for each word;
- QA: a list of answer texts, and for each a list of reference answers (empty if the question has no answer); the
  prediction "" means that there is no answer.

It returns a dict of values by name, which are all stored in the record.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from harness import hookimpl

METRICS = {
    "accuracy": "Accuracy",
    "errors": "Errors",
    "f1": "F1",
    "f1_micro": "F1Micro",
    "f1_macro": "F1Macro",
    "subset_accuracy": "SubsetAccuracy",
    "matthews_correlation": "MatthewsCorrelation",
    "pearson_spearman": "PearsonSpearman",
    "entity_f1": "EntityF1",
    "token_accuracy": "TokenAccuracy",
    "squad": "Squad",
    "squad_v2": "SquadV2",
}
"""Registered name -> class."""


def _factory(class_name: str) -> Callable[[], Any]:
    def build() -> Any:
        return getattr(import_module("harness.metrics._evaluate_metrics"), class_name)()

    return build


@hookimpl
def harness_register_metrics(register: Callable[[str, Callable[[], Any]], None]) -> None:
    for name, class_name in METRICS.items():
        register(name, _factory(class_name))
