"""Weights of classes: their values, and the task loss with them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.api.batch import Batch
from harness.api.losses import task_loss, task_loss_by_example, task_losses
from harness.api.task import Splits, Task
from harness.tasks.class_weights import class_weights
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


def test_batches_of_a_task_with_weights_have_them():
    from datasets import Dataset

    rows = Dataset.from_dict({"id": list("abcd"), "text": ["the cat"] * 4, "label": [0, 0, 0, 1]})
    splits = Splits(rows, {"validation": rows})
    encoded = encode_task(task("balanced", classes=2), splits, wordpiece(), "tokenizer", 8)
    assert encoded.batch([0, 3]).class_weights.tolist() == pytest.approx([2 / 3, 2])
    assert encode_task(task(None, classes=2), splits, wordpiece(), "tokenizer", 8).batch([0]).class_weights is None
