"""Batches with the lengths of a task."""

import numpy as np
import pytest

from harness.config.latency_schema import LatencySpec
from harness.latency import timed_shapes


@pytest.mark.parametrize("size", [1, 4])
def test_few_batches_represent_the_distribution(size):
    lengths = np.random.default_rng(1).geometric(0.05, 2000) + 3
    batches = timed_shapes.task_batches(lengths, size)
    assert [len(batch) for batch in batches] == [size] * timed_shapes.POOL
    rows = np.concatenate(batches)
    assert set(rows.tolist()) <= set(lengths.tolist()), "real lengths"
    assert np.median(rows) == pytest.approx(np.median(lengths), abs=1)
    assert rows.mean() == pytest.approx(lengths.mean(), rel=0.1)
    assert batches == timed_shapes.task_batches(lengths, size), "deterministic"
    assert batches[-1] == max(batches, key=max), "the longest last"


def test_rows_are_padded_to_the_longest_of_their_batch(make):
    settings = LatencySpec(batch_sizes=[3, 1], lengths=[5, "task"])
    shapes = timed_shapes.batches([make()], settings, np.array([4, 6, 6, 9]))
    assert {shape: len(group) for shape, group in shapes.items()} == {
        (1, 5): 1,
        (1, "task"): 16,
        (3, 5): 1,
        (3, "task"): 16,
    }
    for batch in shapes[3, "task"]:
        lengths = batch["attention_mask"].sum(1)
        assert batch["input_ids"].shape == (3, lengths.max())
        assert set(lengths.tolist()) <= {4, 6, 9}
    assert any(batch["attention_mask"].min() == 0 for batch in shapes[3, "task"]), "some rows are padded"
    assert timed_shapes.largest(shapes) == (3, 9)


def test_probes_are_padded_and_have_at_least_two_rows(make):
    shapes = timed_shapes.batches([make()], LatencySpec(batch_sizes=[1, 8], lengths=[4, 16]), None)
    probes = timed_shapes.probes([make()], shapes)
    assert [tuple(probe["input_ids"].shape) for probe in probes] == [(2, 4), (8, 16)]
    assert all(probe["attention_mask"].min() == 0 for probe in probes)
