"""Permuted heads are found, and only those."""

import numpy as np
import pandas as pd
import pytest

from harness.metrics import permuted_classes


def frame(predictions, labels):
    return pd.DataFrame({"prediction": list(predictions), "label": list(labels)})


def find(kind, predictions, labels, classes):
    return permuted_classes.find(kind, frame(predictions, labels), [f"class {i}" for i in range(classes)])


def noisy(labels, right, classes, rng):
    """Predictions that are right with probability `right`, else another class."""
    wrong = (labels + rng.integers(1, classes, len(labels))) % classes
    return np.where(rng.random(len(labels)) < right, labels, wrong)


@pytest.mark.parametrize(("classes", "examples"), [(2, 40), (3, 200), (20, 1000)])
def test_a_permutation_is_found_and_named(classes, examples):
    rng = np.random.default_rng(classes)
    labels = rng.integers(classes, size=examples)
    meaning = np.roll(np.arange(classes), 1)
    predictions = noisy(labels, 0.85, classes, rng)
    found = find("classification", np.argsort(meaning)[predictions], labels, classes)
    assert found is not None
    assert found.meaning == tuple(meaning)
    assert found.agreement == pytest.approx((predictions == labels).mean())
    assert find("classification", predictions, labels, classes) is None


def test_only_two_of_many_classes_are_exchanged():
    rng = np.random.default_rng(0)
    labels = rng.integers(6, size=600)
    predictions = np.array([1, 0, 2, 3, 4, 5])[noisy(labels, 0.9, 6, rng)]
    found = find("classification", predictions, labels, 6)
    assert found is not None
    assert found.meaning == (1, 0, 2, 3, 4, 5)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_models_that_guess_rarely_raise_an_alarm(classes):
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(300):
        labels, predictions = rng.integers(classes, size=(2, 200))
        alarms += find("classification", predictions, labels, classes) is not None
    assert alarms <= 300 * permuted_classes.ERROR


def test_a_constant_prediction_is_no_permutation():
    labels = np.array([1] * 90 + [0] * 10)
    assert find("classification", np.zeros(100, int), labels, 2) is None


def test_few_examples_are_not_significant():
    labels = np.array([0, 1] * 5)
    assert find("classification", 1 - labels, labels, 2) is None
    labels = np.array([0, 1] * 10)
    assert find("classification", 1 - labels, labels, 2) is not None


def test_hidden_labels_and_tasks_without_classes():
    assert find("classification", [0, 1] * 50, [-1] * 100, 2) is None
    assert find("token_classification", [["class 1"]] * 50, [[""]] * 50, 2) is None
    assert find("regression", [0.5] * 20, [0.1] * 20, 1) is None
    assert find("qa", ["a"] * 20, [["b"]] * 20, 2) is None


def test_lists_of_classes_and_of_tags():
    rng = np.random.default_rng(2)
    sets = [sorted(set(rng.integers(4, size=2).tolist())) for _ in range(100)]
    swapped = [[(label + 1) % 4 for label in labels] for labels in sets]
    found = find("multilabel", swapped, sets, 4)
    assert found is not None
    assert (found.meaning, found.agreement) == ((3, 0, 1, 2), 1.0)
    assert find("multilabel", sets, sets, 4) is None
    tags = [[f"class {tag}" for tag in (0, 0, 1, 2, 0)]] * 60
    wrong = [[f"class {tag}" for tag in (0, 0, 2, 1, 0)]] * 60
    found = find("token_classification", wrong, tags, 3)
    assert found is not None
    assert found.meaning == (0, 2, 1)
