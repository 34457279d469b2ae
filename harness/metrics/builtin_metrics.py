"""Registers the metrics. Their classes stand in `_evaluate_metrics`: `evaluate` takes seconds to import.

A metric is an `evaluate.Metric`. ``metric.compute(predictions=..., references=...)`` is given, in the order of the
examples, what suits the kind of task:

- classification: lists of class indices;
- regression: lists of floats;
- QA: a list of answer texts, and for each a list of the right ones (empty where the question has no answer); the
  prediction "" says that there is no answer.

It returns a dict of final values by name, all of which go into the record.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from harness import hookimpl

METRICS = {
    "accuracy": "Accuracy",
    "f1": "F1",
    "matthews_correlation": "MatthewsCorrelation",
    "pearson_spearman": "PearsonSpearman",
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
