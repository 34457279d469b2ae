"""Weights of classes: their values, and the task loss with them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.api.batch import IGNORED, Batch
from harness.api.losses import task_loss, task_loss_by_example, task_losses
from harness.api.task import Splits, Task
from harness.tasks.class_weights import class_weights
from harness.tasks.ragged_arrays import Ragged
from harness.testing import tiny_batch
from harness.training.batch_stream import encode_task
from tests.support.tiny_tasks import wordpiece

LABELS = np.array([0] * 60 + [1] * 30 + [2] * 10)


def task(weights, classes=3):
    labels = tuple("abcd"[:classes])
    return Task(
        "t", "classification", lambda source: Splits(None, {}), ("accuracy",), "accuracy", labels, class_weights=weights
    )


@pytest.mark.parametrize("weights", ["balanced", (1.0, 2.0, 7.0)])
def test_the_mean_weight_of_the_training_examples_is_one(weights):
    assert class_weights(task(weights), LABELS)[LABELS].mean() == pytest.approx(1)


def test_balanced_classes_contribute_equally():
    weights = class_weights(task("balanced"), LABELS)
    assert weights * np.bincount(LABELS) == pytest.approx([100 / 3] * 3)


def test_given_weights_keep_their_ratios_and_unused_classes_are_finite():
    assert class_weights(task((1.0, 2.0, 7.0)), LABELS) / class_weights(
        task((2.0, 4.0, 14.0)), LABELS
    ) == pytest.approx([1] * 3)
    assert np.isfinite(class_weights(task("balanced", classes=4), LABELS)).all()


def test_the_task_loss_is_the_weighted_mean_of_the_cross_entropies():
    batch = Batch.from_mapping(tiny_batch("classification"))
    weights = torch.tensor([0.5, 3.0], dtype=torch.float64)
    logits = torch.randn(len(batch.ids), 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = []
    for row, label in zip(logits.tolist(), batch.labels.tolist(), strict=True):
        total = sum(np.exp(value) for value in row)
        expected.append(-weights[label].item() * np.log(np.exp(row[label]) / total))
    weighted = replace(batch, class_weights=weights)
    assert task_loss(logits, weighted).item() == pytest.approx(sum(expected) / len(expected))
    assert torch.equal(task_losses(logits, weighted), task_losses(logits, batch))


def test_parts_of_a_batch_add_up_and_devices_keep_the_weights():
    batch = replace(Batch.from_mapping(tiny_batch("classification")), class_weights=torch.tensor([0.5, 3.0]))
    logits = torch.randn(len(batch.ids), 2)
    parts = [batch.part(slice(0, 2)), batch.part(slice(2, None), tokens=3).to(torch.device("cpu"))]
    by_part = torch.cat([task_loss_by_example(logits[:2], parts[0]), task_loss_by_example(logits[2:], parts[1])])
    assert torch.equal(by_part, task_loss_by_example(logits, batch))


def of_kind(kind, weights):
    return replace(task(weights, classes=2), kind=kind)


def test_labels_are_counted_as_each_kind_of_task_stores_them():
    indicators = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    assert class_weights(of_kind("multilabel", "balanced"), indicators) == pytest.approx([1 / 2, 3 / 2])
    tags = Ragged.of([[IGNORED, 0, 0, IGNORED], [0, 1]], np.int64)
    assert class_weights(of_kind("token_classification", "balanced"), tags) == pytest.approx([2 / 3, 2])


@pytest.mark.parametrize("weights", ["balanced", (1.0, 3.0, 2.0)])
@pytest.mark.parametrize("counts", [(990, 10, 500), (990, 10, 0)])
def test_the_mean_factor_of_the_decisions_of_a_multilabel_task_is_one(weights, counts):
    indicators = (np.arange(1000)[:, None] < counts).astype(float)
    values = class_weights(replace(task(weights), kind="multilabel"), indicators)
    assert np.broadcast_to(values, indicators.shape).mean() == pytest.approx(1)
    ratio = 99 if weights == "balanced" else 3
    assert values[1] / values[0] == pytest.approx(ratio)
    if weights == "balanced":
        assert values[2] == pytest.approx(values[0] * 990 / 500 if counts[2] else 1)


def test_weights_without_any_label_are_finite():
    assert class_weights(of_kind("multilabel", "balanced"), np.zeros((3, 2))).tolist() == [1, 1]


def test_the_loss_of_each_class_of_a_multilabel_task_is_weighted():
    batch = Batch.from_mapping(tiny_batch("multilabel"), "multilabel")
    classes = batch.labels.shape[1]
    logits = torch.randn(len(batch.ids), classes, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weights = torch.arange(1, classes + 1, dtype=torch.float64)
    expected = [
        weight * -np.log(1 / (1 + np.exp(-value)) if present else 1 - 1 / (1 + np.exp(-value)))
        for row, labels in zip(logits.tolist(), batch.labels.tolist(), strict=True)
        for value, present, weight in zip(row, labels, weights.tolist(), strict=True)
    ]
    weighted = replace(batch, class_weights=weights)
    assert task_loss(logits, weighted).item() == pytest.approx(sum(expected) / len(expected))


def test_the_loss_of_each_word_is_weighted_by_its_tag():
    batch = Batch.from_mapping(tiny_batch("token_classification"), "token_classification")
    classes = int(batch.labels.max()) + 1
    shape = (*batch.labels.shape, classes)
    logits = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weights = torch.arange(1, classes + 1, dtype=torch.float64)
    by_example = []
    for row, tags in zip(logits.tolist(), batch.labels.tolist(), strict=True):
        words = [(token, tag) for token, tag in zip(row, tags, strict=True) if tag != IGNORED]
        losses = [-weights[tag].item() * np.log(np.exp(token[tag]) / sum(map(np.exp, token))) for token, tag in words]
        by_example.append(sum(losses) / len(losses))
    weighted = replace(batch, class_weights=weights)
    assert task_loss(logits, weighted).item() == pytest.approx(sum(by_example) / len(by_example))


def test_batches_of_a_task_with_weights_have_them():
    from datasets import Dataset

    rows = Dataset.from_dict({"id": list("abcd"), "text": ["the cat"] * 4, "label": [0, 0, 0, 1]})
    splits = Splits(rows, {"validation": rows})
    encoded = encode_task(task("balanced", classes=2), splits, wordpiece(), "tokenizer", 8)
    assert encoded.batch([0, 3]).class_weights.tolist() == pytest.approx([2 / 3, 2])
    assert encode_task(task(None, classes=2), splits, wordpiece(), "tokenizer", 8).batch([0]).class_weights is None
