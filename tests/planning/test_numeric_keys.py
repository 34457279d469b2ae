"""Settings of precision and memory are part of a key where they change a result, and nowhere else."""

import pytest

from harness.config.training_schema import TrainingSpec
from harness.planning import keys


def test_default_settings_add_nothing():
    always = {"epochs", "batch_size", "batching", "lr", "schedule", "warmup_ratio", "weight_decay", "max_grad_norm"}
    assert set(keys.training(TrainingSpec())) == always
    assert set(keys.numeric("cuda", "fp32")) == {"device", "precision", "teacher_tensors"}


@pytest.mark.parametrize(("size", "counts"), [(8, True), (31, True), (32, False), (64, False)])
def test_a_micro_batch_size_is_in_the_key_if_it_splits_batches(size, counts):
    assert ("micro_batch_size" in keys.training(TrainingSpec(batch_size=32, micro_batch_size=size))) == counts


def test_memory_limits_are_not_in_the_key():
    assert keys.training(TrainingSpec(max_memory_gb=1.0)) == keys.training(TrainingSpec())


@pytest.mark.parametrize(("device", "counts"), [("cuda", True), ("cuda:1", True), ("cpu", False), ("mps", False)])
def test_tf32_is_in_the_key_only_on_cuda(device, counts):
    assert (keys.numeric(device, "fp32", tf32=True) != keys.numeric(device, "fp32")) == counts


def test_the_execution_is_in_the_key_if_it_is_not_the_default():
    assert keys.training(TrainingSpec(execution="fused")) == {**keys.training(TrainingSpec()), "execution": "fused"}
