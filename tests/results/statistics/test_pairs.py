"""All pairs at once: the same numbers as one by one."""

from itertools import combinations

import numpy as np
import pytest

from harness.results.statistics.inference import Sample, estimate
from harness.results.statistics.pairs import differences


def made(random, count, examples=50, resamples=300, *, drawn=True):
    """Scores of about 80 points whose resamples have something in common."""
    draws = 80 + random.normal(0, 3, size=(resamples, 1)) + random.normal(0, 2, size=(resamples, count))
    return Sample(tuple(range(count)), 80 + random.normal(0, 2, size=count), draws if drawn else None, examples)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_they_are_those_of_each_pair(count):
    random = np.random.default_rng(count)
    rows = [
        [made(random, count, examples, drawn=row != 2 or task) for task, examples in enumerate((50, 900))]
        for row in range(5)
    ]
    found = differences(rows)
    assert {each.over for each in found} == {"seeds", "seeds and examples"}
    for each, (one, other) in zip(found, combinations(rows, 2), strict=True):
        alone = estimate([a - b for a, b in zip(one, other, strict=True)])
        assert each.over == alone.over
        for name in ("mean", "error", "freedom", "low", "high", "p"):
            assert getattr(each, name) == pytest.approx(getattr(alone, name), rel=1e-12, abs=1e-12)


def test_rows_that_are_the_same_differ_by_nothing_for_sure():
    random = np.random.default_rng(0)
    row, other = [made(random, 3), made(random, 3)], [made(random, 3), made(random, 3)]
    same = differences([row, other, row])[1]
    assert (same.mean, same.error, same.p) == (0.0, 0.0, 1.0)


def test_other_seeds_cannot_be_paired():
    random = np.random.default_rng(0)
    with pytest.raises(ValueError, match="cannot be paired"):
        differences([[made(random, 3)], [made(random, 4)]])
