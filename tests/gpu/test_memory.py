"""Memory of the GPU: what does not fit is split, and the estimate is near the peak."""

from contextlib import contextmanager

import pytest
import torch

from harness.planning import memory_estimate
from tests.support.full_batches import cohort
from tests.support.training_world import train

BATCH = 64
CAPPED = {"teacher": [2, 128, 2, 512], "student": [4, 512, 8, 2048], "batch": BATCH, "precision": "fp32"}
"""A student whose activations take more than its weights; without dropout, whose draws depend on the micro-batches."""


def peak(device, function):
    """The peak memory that the call allocates beyond what is allocated before it, in bytes."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    function()
    return torch.cuda.max_memory_allocated(device) - before


@contextmanager
def capped(device, size):
    """Memory of the process on the device limited to what is allocated now and `size` bytes."""
    torch.cuda.empty_cache()
    limit = torch.cuda.memory_reserved(device) + size
    torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.get_device_properties(device).total_memory, device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
        torch.cuda.empty_cache()


@pytest.mark.gpu
def test_a_batch_that_does_not_fit_is_split_and_gives_the_same_losses(device):
    device = torch.device(device, 0)
    whole, _ = cohort(["logit_kd"], **CAPPED, device=device, dropout=0.0)
    needed = peak(device, lambda: train(whole))
    (expected,) = whole.runs
    assert expected.error is None
    assert expected.gradients.micro_batch_size is None
    weights = 4 * sum(parameter.numel() for parameter in expected.student.parameters())
    split, _ = cohort(["logit_kd"], **CAPPED, device=device, dropout=0.0)
    with capped(device, 3 * weights + int(0.7 * (needed - 3 * weights))):  # gradients and moments fit, activations not
        train(split)
    (run,) = split.runs
    assert run.error is None
    assert run.gradients.micro_batch_size in (BATCH // 2, BATCH // 4)
    for mine, theirs in zip(run.history, expected.history, strict=True):
        assert mine.terms == pytest.approx(theirs.terms, rel=1e-3, abs=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("student", [[4, 312, 12, 1200], [6, 768, 12, 3072]], ids=["4x312", "6x768"])
def test_the_estimate_is_near_the_peak(device, student, precision):
    device, loads = torch.device(device, 0), []

    def trained():
        made, estimated = cohort(
            ["finetune", "logit_kd", "minilm"], [12, 768, 12, 3072], student, 32, precision, device=device
        )
        loads.extend(estimated)
        train(made)
        assert [run.error for run in made.runs] == [None] * 3

    measured = peak(device, trained)
    assert 0.75 < memory_estimate.peak(loads) / measured < 1.25, (memory_estimate.peak(loads), measured)
