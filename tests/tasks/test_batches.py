import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.tasks.batches import epoch_batches, eval_batches

lengths = st.lists(st.integers(1, 50), min_size=1, max_size=300)


@given(lengths, st.integers(1, 9), st.integers(-5, 5), st.integers(0, 3))
def test_every_row_once(lengths, batch_size, seed, epoch):
    for batches in (epoch_batches(lengths, batch_size, seed=seed, epoch=epoch), eval_batches(lengths, batch_size)):
        assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
        sizes = sorted((len(batch) for batch in batches), reverse=True)
        assert sizes[:-1] == [batch_size] * (len(batches) - 1)


def test_seed_and_epoch_decide_the_order():
    lengths = [5] * 100
    first = epoch_batches(lengths, 4, seed=1, epoch=0)
    assert first == epoch_batches(lengths, 4, seed=1, epoch=0)
    assert first != epoch_batches(lengths, 4, seed=2, epoch=0)
    assert first != epoch_batches(lengths, 4, seed=1, epoch=1)


def test_the_same_in_another_process():
    script = "from harness.tasks.batches import *; print(epoch_batches(range(1, 41), 7, seed=3, epoch=2))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(epoch_batches(range(1, 41), 7, seed=3, epoch=2))


def test_buckets_save_padding_and_batches_stay_shuffled():
    lengths = np.random.default_rng(0).integers(1, 100, 5000)
    batches = epoch_batches(lengths, 16, seed=0, epoch=0)
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert padded < 1.1 * lengths.sum()
    means = np.array([lengths[batch].mean() for batch in batches])
    assert abs(np.corrcoef(means[1:], means[:-1])[0, 1]) < 0.2


def test_evaluation_begins_with_the_longest():
    assert eval_batches([3, 9, 1, 4, 4], 2) == [[1], [3, 4], [2, 0]]
