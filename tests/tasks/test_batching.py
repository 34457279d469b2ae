import subprocess
import sys
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.tasks.batching import epoch_batches, eval_batches

lengths = st.lists(st.integers(1, 50), min_size=1, max_size=300)
modes = st.sampled_from(["random", "grouped", "bucketed"])


@given(lengths, st.integers(1, 9), st.integers(-5, 5), st.integers(0, 3), modes)
def test_every_row_occurs_once(lengths, batch_size, seed, epoch, mode):
    training = epoch_batches(lengths, batch_size, seed=seed, epoch=epoch, batching=mode)
    for batches in (training, eval_batches(lengths, batch_size)):
        assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
        sizes = sorted((len(batch) for batch in batches), reverse=True)
        assert sizes[:-1] == [batch_size] * (len(batches) - 1)


@given(lengths, st.integers(1, 9), st.integers(0, 3))
def test_random_batches_do_not_depend_on_lengths(lengths, batch_size, epoch):
    """Random batches are slices of a shuffle of the rows; grouped batches are the same."""
    epochs = [
        epoch_batches(row_lengths, batch_size, seed=1, epoch=epoch, batching=mode)
        for row_lengths in (lengths, lengths[::-1], [1] * len(lengths))
        for mode in ("random", "grouped")
    ]
    assert all([set(batch) for batch in batches] == [set(batch) for batch in epochs[0]] for batches in epochs)
    assert all(lengths[a] >= lengths[b] for batch in epochs[0] for a, b in pairwise(batch))


@given(lengths, st.integers(1, 200), st.integers(-5, 5), st.integers(0, 3), modes)
def test_a_token_budget_is_not_exceeded(lengths, budget, seed, epoch, mode):
    batches = epoch_batches(lengths, 4, seed=seed, epoch=epoch, token_budget=budget, batching=mode)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    areas = [len(batch) * max(lengths[row] for row in batch) for batch in batches]
    for batch, area in zip(batches, areas, strict=True):
        assert area <= budget or len(batch) == 1


def test_a_token_budget_gives_batches_of_similar_cost():
    lengths = np.random.default_rng(0).integers(4, 129, 20_000)
    batches = epoch_batches(lengths, 32, seed=1, epoch=0, token_budget=4096, batching="bucketed")
    areas = np.array([len(batch) * lengths[batch].max() for batch in batches])
    assert np.quantile(areas, 0.05) > 0.9 * 4096
    assert areas.sum() < 1.1 * lengths.sum()
    assert max(map(len, batches)) > 4 * min(map(len, batches))
    means = np.array([lengths[batch].mean() for batch in batches])
    assert abs(np.corrcoef(means[1:], means[:-1])[0, 1]) < 0.2
    assert batches != epoch_batches(lengths, 32, seed=1, epoch=1, token_budget=4096, batching="bucketed")
    assert batches == epoch_batches(lengths, 7, seed=1, epoch=0, token_budget=4096, batching="bucketed")


def test_seed_and_epoch_decide_the_order():
    lengths = [5] * 100
    first = epoch_batches(lengths, 4, seed=1, epoch=0)
    assert first == epoch_batches(lengths, 4, seed=1, epoch=0)
    assert first != epoch_batches(lengths, 4, seed=2, epoch=0)
    assert first != epoch_batches(lengths, 4, seed=1, epoch=1)


def test_batches_are_the_same_in_another_process():
    script = "from harness.tasks.batching import *; print(epoch_batches(range(1, 41), 7, seed=3, epoch=2))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(epoch_batches(range(1, 41), 7, seed=3, epoch=2))


def test_buckets_save_padding_and_batches_stay_shuffled():
    lengths = np.random.default_rng(0).integers(1, 100, 5000)
    batches = epoch_batches(lengths, 16, seed=0, epoch=0, batching="bucketed")
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert padded < 1.1 * lengths.sum()
    means = np.array([lengths[batch].mean() for batch in batches])
    assert abs(np.corrcoef(means[1:], means[:-1])[0, 1]) < 0.2


def test_evaluation_starts_with_the_longest():
    assert eval_batches([3, 9, 1, 4, 4], 2) == [[1], [3, 4], [2, 0]]
