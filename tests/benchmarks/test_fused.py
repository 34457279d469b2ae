"""The benchmark `fused`: sequential against fused steps."""

import torch

from benchmarks import fused, peak_memory


def test_both_executions_are_measured_for_one_method_and_several(options):
    measured = fused.measure(options(runs=2), lambda line: None)
    names = ["2x12, 2 runs on logits", "2x12, 2 runs of several methods"]
    assert set(measured.times) == {f"{name}, {how}" for name in names for how in ("sequential", "fused")}
    assert [row.what for row in measured.rows] == [f"{name}: sequential / fused" for name in names]
    for name, row in zip(names, measured.rows, strict=True):
        sequential, together = (measured.times[f"{name}, {how}"] for how in ("sequential", "fused"))
        assert row.ratios == [one / other for one, other in zip(sequential, together, strict=True)]
        assert measured.notes[f"{name}, fused, seconds per step"] > 0


def test_peak_memory_counts_what_a_call_allocates():
    held = []
    peak = peak_memory.peak_bytes(lambda: held.append(torch.ones(2**24)), torch.device("cpu"))
    assert peak is None or 0.9 * 2**26 < peak < 1.5 * 2**26
    assert peak_memory.peak_bytes(lambda: None, torch.device("meta")) is None
