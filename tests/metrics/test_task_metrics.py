"""Metrics of declared tasks against plain loops."""

import numpy as np
import pytest

from harness.api.errors import UserError
from harness.metrics.builtin_metrics import METRICS, _factory
from harness.metrics.task_metrics import VALUES, choose

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


@pytest.mark.parametrize("registered", [None, METRICS], ids=["in a plugin", "in a suite"])
@pytest.mark.parametrize("kind", VALUES)
def test_built_in_metrics_of_other_kinds_are_refused(kind, registered):
    wrong = [name for name in METRICS if name not in VALUES[kind]]
    assert wrong
    for name in wrong:
        with pytest.raises(UserError, match=f"no metric '{name}' for a task of kind {kind}") as refusal:
            choose(kind, 2, [name], None, registered=registered)
        assert refusal.value.problems[0].where == "metrics"
        with pytest.raises(UserError) as refusal:
            choose(kind, 2, None, name, registered=registered)
        assert refusal.value.problems[0].where == "score"


def test_metrics_of_plugins_are_allowed_for_every_kind():
    for kind in VALUES:
        assert choose(kind, 2, ["kappa"], None, higher_is_better=True, registered=[*METRICS, "kappa"]).names == (
            "kappa",
        )
        assert choose(kind, 2, ["kappa"], None, higher_is_better=False).names == ("kappa",)
