"""Resampled metrics against the registered metrics on the drawn examples."""

import numpy as np
import pytest

from harness.analysis.bootstrap import resamples
from harness.analysis.prediction_tables import Predictions, objects
from harness.analysis.resampled_metrics import RESAMPLED_METRICS
from harness.metrics.builtin_metrics import METRICS, _factory

RANDOM = np.random.default_rng(5)
TAGS = ["O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
TEXTS = ["the red house", "red house", "a house", "", "Green!", "blue and green"]


def classes(count: int, size: int = 60) -> Predictions:
    labels = RANDOM.integers(count, size=size)
    return Predictions(np.where(RANDOM.random(size) < 0.6, labels, RANDOM.integers(count, size=size)), labels)


def values(size: int = 60) -> Predictions:
    labels = np.round(RANDOM.uniform(0, 5, size) * 4) / 4  # with ties, as stsb has
    return Predictions(labels + RANDOM.normal(0, 1.5, size), labels)


def texts(size: int = 60, *, unanswerable: bool) -> Predictions:
    right = [list(RANDOM.choice(TEXTS[:3] + TEXTS[4:], size=RANDOM.integers(1, 4))) for _ in range(size)]
    if unanswerable:
        right = [answers if n % 3 else [] for n, answers in enumerate(right)]
    labels = np.empty(size, dtype=object)
    labels[:] = [np.array(answers, dtype=object) for answers in right]
    return Predictions(RANDOM.choice(TEXTS, size=size).astype(object), labels)


def class_sets(size: int = 60) -> Predictions:
    labels = (RANDOM.random((size, 4)) < 0.3).astype(np.int8)
    labels[:, 3] = 0  # a class that no example has
    return Predictions(np.where(RANDOM.random((size, 4)) < 0.8, labels, 1 - labels).astype(np.int8), labels)


def tags(size: int = 60) -> Predictions:
    columns = []
    right = [RANDOM.choice(TAGS, size=RANDOM.integers(1, 7)) for _ in range(size)]
    for share in (0.7, 1.0):
        rows = [np.where(RANDOM.random(len(row)) < share, row, RANDOM.choice(TAGS, size=len(row))) for row in right]
        columns.append(objects([tuple(row.tolist()) for row in rows]))
    return Predictions(*columns)


CASES = [
    ("classification", "accuracy", "accuracy", classes(3)),
    ("classification", "f1", "f1", classes(2)),
    ("classification", "matthews_correlation", "matthews_correlation", classes(2)),
    ("classification", "matthews_correlation", "matthews_correlation", classes(3)),
    ("classification", "f1_micro", "f1_micro", classes(3)),
    ("classification", "f1_macro", "f1_macro", classes(4)),
    *(("multilabel", name, name, class_sets()) for name in ("f1_micro", "f1_macro", "subset_accuracy")),
    *(("token_classification", f"entity_{name}", "entity_f1", tags()) for name in ("precision", "recall", "f1")),
    ("token_classification", "token_accuracy", "token_accuracy", tags()),
    ("regression", "pearson", "pearson_spearman", values()),
    ("regression", "spearmanr", "pearson_spearman", values()),
    ("qa", "exact", "squad", texts(unanswerable=False)),
    ("qa", "f1", "squad", texts(unanswerable=False)),
    *(("qa", name, "squad_v2", texts(unanswerable=True)) for name in ("exact", "f1", "HasAns_f1", "NoAns_exact")),
    ("classification", "f1_macro", "f1_macro", classes(3)),
    ("classification", "f1_micro", "f1_micro", classes(3)),
    ("regression", "mse", "errors", values()),
    ("regression", "mae", "errors", values()),
]


def registered(metric: str, score: str, answers: Predictions) -> float:
    labels = [list(label) if isinstance(label, np.ndarray) else label for label in answers.labels.tolist()]
    return _factory(METRICS[metric])().compute(predictions=answers.predictions.tolist(), references=labels)[score]


def of_index(answers: Predictions, index) -> Predictions:
    return Predictions(answers.predictions[index], answers.labels[index])


@pytest.mark.parametrize(("kind", "score", "metric", "answers"), CASES, ids=lambda value: str(value)[:20])
def test_resampled_scores_equal_the_registered_metric_on_the_drawn_examples(kind, score, metric, answers):
    """Two runs on the same examples, so that columns are not mixed up."""
    others = answers.labels if kind == "token_classification" else RANDOM.permutation(answers.predictions)
    other = Predictions(others, answers.labels)
    metric_on_resamples = RESAMPLED_METRICS[kind, score][1 if metric == "squad_v2" and score in ("exact", "f1") else 0]
    drawn = resamples(60, 5, np.random.default_rng(0))
    scores = metric_on_resamples.scores([answers, other], drawn)
    for row, counts in enumerate(drawn.counts):
        index = np.repeat(np.arange(60), counts.astype(int))
        assert len(index) == 60
        expected = [registered(metric, score, of_index(run, index)) for run in (answers, other)]
        assert scores[row] == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("kind", "score", "metric"),
    [case[:3] for case in CASES[1:3]] + [("regression", "pearson", "pearson_spearman")],
)
def test_correlations_with_constant_predictions_are_0(kind, score, metric):
    labels = np.array([0, 1, 0, 1] * 5) if kind == "classification" else np.linspace(0, 5, 20)
    constant = Predictions(np.zeros(20, dtype=int) if kind == "classification" else np.full(20, 0.1), labels)
    scores = RESAMPLED_METRICS[kind, score][0].scores([constant], resamples(20, 50, np.random.default_rng(0)))
    assert (scores == 0).all()
    assert registered(metric, score, constant) == pytest.approx(0 if kind == "classification" else np.nan, nan_ok=True)
