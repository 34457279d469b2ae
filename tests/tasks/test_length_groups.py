"""The split of a batch by length is optimal for all lengths."""

from itertools import combinations, pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.tasks.length_groups import GROUP_COST, MAX_GROUPS, split_by_length

descending = st.lists(st.integers(1, 60), min_size=1, max_size=10).map(lambda lengths: sorted(lengths, reverse=True))


def total_cost(lengths, sizes, cost):
    first, total = 0, 0
    for size in sizes:
        total += lengths[first] * size + cost
        first += size
    return total


def splits(count, max_groups):
    for groups in range(1, min(max_groups, count) + 1):
        for cuts in combinations(range(1, count), groups - 1):
            edges = [0, *cuts, count]
            yield [end - first for first, end in pairwise(edges)]


@given(descending, st.integers(1, 5), st.integers(0, 100))
def test_the_split_is_optimal(lengths, max_groups, cost):
    sizes = split_by_length(lengths, max_groups=max_groups, group_cost=cost)
    assert sum(sizes) == len(lengths)
    assert min(sizes) > 0
    assert len(sizes) <= max_groups
    best = min(splits(len(lengths), max_groups), key=lambda sizes: (total_cost(lengths, sizes, cost), len(sizes)))
    assert total_cost(lengths, sizes, cost) == total_cost(lengths, best, cost)
    assert len(sizes) == len(best)


def test_equal_lengths_are_one_group():
    assert split_by_length([7] * 20, max_groups=4, group_cost=0) == [20]


def test_one_long_row_is_a_group_of_its_own():
    assert split_by_length([100, *[10] * 15], max_groups=4, group_cost=64) == [1, 15]


def test_groups_save_most_of_the_padding_of_random_batches():
    rng = np.random.default_rng(0)
    batches = [np.sort(rng.integers(4, 129, 32))[::-1] for _ in range(50)]
    real = sum(batch.sum() for batch in batches)
    padded = sum(int(batch[0]) * len(batch) for batch in batches)
    grouped = sum(
        total_cost(batch, split_by_length(batch, max_groups=MAX_GROUPS, group_cost=GROUP_COST), 0) for batch in batches
    )
    assert padded > 1.8 * real
    assert grouped < 1.3 * real
