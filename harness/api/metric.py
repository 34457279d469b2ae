"""The interface of metrics, which score the predictions of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol


class Metric(Protocol):
    """Computes scores. An `evaluate.Metric` is one."""

    def compute(self, *, predictions: Sequence[Any], references: Sequence[Any]) -> Mapping[str, Any]:
        """Return values by name: numbers, NaN where undefined. The record of a run has all of them.

        A metric of a plugin returns a value of its own name, by which tasks refer to it.

        Args:
            predictions: of all examples of a validation split. By kind of task:

                - classification: lists of class indices;
                - multilabel: for each example a list with 0 or 1 for each class;
                - regression: lists of floats;
                - token classification: for each example a list of tag names, one for each word;
                - QA: a list of answer texts; "" means that there is no answer.
            references: the labels in the same order and form; for QA, for each example a list of reference answers,
                empty if the question has no answer.
        """


MetricFactory = Callable[[], Metric]
"""Creates a metric."""
