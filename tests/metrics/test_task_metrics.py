"""Metrics of declared tasks against plain loops."""

import numpy as np
import pytest

from harness.metrics.builtin_metrics import METRICS, _factory
from harness.metrics.task_metrics import VALUES

RNG = np.random.default_rng(4)
CLASSES = [RNG.integers(0, 4, 60).tolist() for _ in range(2)]
NUMBERS = [RNG.normal(size=60).tolist() for _ in range(2)]


def f1_macro(predicted, actual):
    values = []
    for label in sorted({*predicted, *actual}):
        right = sum(p == a == label for p, a in zip(predicted, actual, strict=True))
        values.append(2 * right / (predicted.count(label) + actual.count(label)))
    return sum(values) / len(values)


def mse(predicted, actual):
    return sum((p - a) ** 2 for p, a in zip(predicted, actual, strict=True)) / len(actual)


def mae(predicted, actual):
    return sum(abs(p - a) for p, a in zip(predicted, actual, strict=True)) / len(actual)


def accuracy(predicted, actual):
    return sum(p == a for p, a in zip(predicted, actual, strict=True)) / len(actual)


LOOPS = {
    ("classification", "f1_macro"): (f1_macro, CLASSES),
    ("classification", "f1_micro"): (accuracy, CLASSES),
    ("regression", "mse"): (mse, NUMBERS),
    ("regression", "mae"): (mae, NUMBERS),
}


@pytest.mark.parametrize("metric", LOOPS, ids=lambda metric: metric[1])
def test_a_metric_is_that_of_a_loop(metric):
    loop, (predicted, actual) = LOOPS[metric]
    values = _factory(METRICS[VALUES[metric[0]][metric[1]]])().compute(predictions=predicted, references=actual)
    assert values[metric[1]] == pytest.approx(loop(predicted, actual))
