"""Tokens per second, FLOP utilization and busy time from what a call takes; the calls on a GPU only."""

import pytest
import torch

from benchmarks import device_usage
from benchmarks.device_usage import Usage
from benchmarks.measuring import Measured, Row, result
from benchmarks.workload import Workload, entries, fixed_length_data

CPU = torch.device("cpu")
MIG = "NVIDIA H100 80GB HBM3 MIG 1g.10gb"
"""The name of a seventh of a card."""


def test_overlapping_kernels_are_counted_once():
    assert device_usage.covered([(5, 6), (0, 2), (1, 3), (1, 2), (3, 4)]) == 5
    assert device_usage.covered([]) == 0


def test_flops_of_a_training_step():
    layer, inputs = torch.nn.Linear(8, 4), torch.ones(3, 8)
    assert device_usage.counted_flops(lambda: layer(inputs)) == 2 * 3 * 8 * 4
    assert device_usage.counted_flops(lambda: layer(inputs).sum().backward()) == 2 * 2 * 3 * 8 * 4


@pytest.mark.parametrize(
    ("card", "precision", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989),
        ("NVIDIA H100 PCIe", "bf16", 756),
        ("NVIDIA H100 NVL", "bf16", 835),
        ("NVIDIA H200", "fp32", 67),
        ("NVIDIA H200 NVL", "fp32", 60),
        ("NVIDIA A100-SXM4-40GB", "bf16", 312),
        ("NVIDIA L4", "bf16", 121),
        ("NVIDIA L40S", "bf16", 362),
    ],
)
def test_peak_flops_by_the_name_of_the_card(card, precision, tflops):
    assert device_usage.peak_flops(card, precision) == tflops * 1e12


@pytest.mark.parametrize("card", ["NVIDIA A10G", "NVIDIA T4", "NVIDIA L400", MIG])
def test_a_card_that_is_not_known_has_no_peak(card):
    assert device_usage.peak_flops(card, "bf16") is None


def test_cells_are_rates_at_the_median_time():
    used = {"a": Usage(tokens=5000, flops=10**12, busy_seconds=0.25, peak_memory_bytes=2**31), "b": Usage(tokens=10)}
    times = {"a": [9 * 10**9, 5 * 10**8, 10**8], "b": [10**9]}
    assert list(device_usage.rows(used, times, 1e13)) == [
        ["a", "10,000", "20.0%", "50%", "2.00 GiB"],
        ["b", "10", "", "", ""],
    ]
    assert next(device_usage.rows(used, times, None))[2] == ""


def test_the_result_has_the_table(options):
    def measure(options, say):
        usage = {"a": Usage(tokens=100, flops=10**9)}
        return Measured("", [Row(what="a / b", ratios=[1.0])], {"a": [10**9]}, usage=usage)

    text = result("some", options(), measure, print).markdown()
    assert "| a      | 100        |" in text
    assert "TFLOP/s" not in text  # of a GPU only


def test_without_a_gpu_calls_are_not_repeated(options):
    workload, (entry, *_) = Workload(options(), fixed_length_data(options())), entries()
    calls = []
    contestants = {"a": lambda: lambda: calls.append(workload.train(workload.runs([entry], "2x12")))}
    assert workload.tokens == 3 * 3 * 12
    assert device_usage.of(contestants, {"a": workload.tokens}, CPU) == {"a": Usage(tokens=108)}
    assert calls == []
