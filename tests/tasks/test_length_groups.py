"""The split of a batch by length: the best one, whatever the lengths."""

from itertools import combinations, pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.tasks.length_groups import GROUP_COST, MAX_GROUPS, split_by_length

descending = st.lists(st.integers(1, 60), min_size=1, max_size=10).map(lambda lengths: sorted(lengths, reverse=True))


def price(lengths, sizes, cost):
    first, total = 0, 0
    for size in sizes:
        total += lengths[first] * size + cost
        first += size
    return total


def splits(count, most):
    for groups in range(1, min(most, count) + 1):
        for cuts in combinations(range(1, count), groups - 1):
            edges = [0, *cuts, count]
            yield [end - first for first, end in pairwise(edges)]


@given(descending, st.integers(1, 5), st.integers(0, 100))
def test_no_split_is_better(lengths, most, cost):
    found = split_by_length(lengths, most=most, cost=cost)
    assert sum(found) == len(lengths)
    assert min(found) > 0
    assert len(found) <= most
    best = min(splits(len(lengths), most), key=lambda sizes: (price(lengths, sizes, cost), len(sizes)))
    assert price(lengths, found, cost) == price(lengths, best, cost)
    assert len(found) == len(best)


def test_equal_lengths_are_one_group():
    assert split_by_length([7] * 20, most=4, cost=0) == [20]


def test_one_long_row_is_padded_alone():
    assert split_by_length([100, *[10] * 15], most=4, cost=64) == [1, 15]


def test_groups_save_most_of_the_padding_of_random_batches():
    rng = np.random.default_rng(0)
    batches = [np.sort(rng.integers(4, 129, 32))[::-1] for _ in range(50)]
    real = sum(batch.sum() for batch in batches)
    padded = sum(int(batch[0]) * len(batch) for batch in batches)
    grouped = sum(price(batch, split_by_length(batch, most=MAX_GROUPS, cost=GROUP_COST), 0) for batch in batches)
    assert padded > 1.8 * real
    assert grouped < 1.3 * real
