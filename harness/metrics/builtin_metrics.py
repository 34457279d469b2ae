"""Registers the built-in metrics. Their classes are in `_evaluate_metrics`, since `evaluate` is slow to import."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from harness import hookimpl
from harness.api.metric import Metric, MetricFactory

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


def _factory(class_name: str) -> MetricFactory:
    def build() -> Metric:
        metric: Metric = getattr(import_module("harness.metrics._evaluate_metrics"), class_name)()
        return metric

    return build


@hookimpl
def harness_register_metrics(register: Callable[[str, MetricFactory], None]) -> None:
    for name, class_name in METRICS.items():
        register(name, _factory(class_name))
