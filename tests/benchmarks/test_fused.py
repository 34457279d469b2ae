"""The benchmark `fused`: sequential against fused steps."""

from benchmarks import fused


def test_both_executions_are_measured_for_one_method_and_several(options):
    measured = fused.measure(options(runs=2), lambda line: None)
    names = ["2x12, 2 runs on logits", "2x12, 2 runs of several methods"]
    assert set(measured.times) == {f"{name}, {how}" for name in names for how in ("sequential", "fused")}
    assert [row.what for row in measured.rows] == [f"{name}: sequential / fused" for name in names]
    for name, row in zip(names, measured.rows, strict=True):
        sequential, together = (measured.times[f"{name}, {how}"] for how in ("sequential", "fused"))
        assert row.ratios == [one / other for one, other in zip(sequential, together, strict=True)]
        assert measured.notes[f"{name}, fused, seconds per step"] > 0
    assert set(measured.usage) == set(measured.times)
