"""All pairs at once: against loops over pairs and tasks, written from the formulas."""

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from harness.analysis.inference import Sample, p_values
from harness.analysis.paired_effects import effect
from harness.analysis.pairwise import differences
from harness.analysis.student_t import SMALLEST


def random_sample(random, count, examples=50, resamples=300, *, drawn=True, spread=2.0):
    """Scores of about 80 points with correlated resamples."""
    draws = 80 + random.normal(0, 3, size=(resamples, 1)) + random.normal(0, 2, size=(resamples, count))
    values = 80 + random.normal(0, spread, size=count)
    return Sample(tuple(range(count)), values, draws if drawn else None, examples)


def loops(rows, count, pairs):
    """Pair -> (C, L / S, tested, stated). The last two: the seeds' variance and its degrees of freedom.

    V0, V, f and d0 as in the docstring of the module.
    """
    tasks = range(len(rows[0]))
    seeds, shared, luck = {}, {}, {}
    for pair in pairs:
        seeds[pair], shared[pair], luck[pair] = [], 0.0, 0.0
        for task in tasks:
            one, other = rows[pair[0]][task], rows[pair[1]][task]
            gaps = [a - b for a, b in zip(one.values, other.values, strict=True)]
            middle = sum(gaps) / count
            seeds[pair].append(sum((gap - middle) ** 2 for gap in gaps) / (count - 1) / count / len(tasks) ** 2)
            if one.draws is not None and other.draws is not None:
                drawn = one.draws - other.draws
                v, w = np.var(drawn.mean(axis=1), ddof=1), np.mean([np.var(column, ddof=1) for column in drawn.T])
                c = max(0.0, (count * v - w) / (count - 1))
                shared[pair] += c / len(tasks) ** 2
                luck[pair] += max(0.0, w - c) / count / len(tasks) ** 2
    by_task = [sum(seeds[pair][task] for pair in pairs) / len(pairs) for task in tasks]
    f = sum(by_task) ** 2 / sum(variance**2 / (count - 1) for variance in by_task)
    prior, pooled = min(4.0, (len(rows) - 2) * f), sum(by_task)
    found = {}
    for pair in pairs:
        own = sum(seeds[pair])
        moderated = (prior * pooled + f * own) / (prior + f), prior + f
        alone = own, own**2 / sum(variance**2 / (count - 1) for variance in seeds[pair])
        found[pair] = shared[pair], luck[pair], moderated, alone if own > pooled else moderated
    return found


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("methods", [2, 3, 5])
def test_estimates_equal_loops_over_pairs_and_tasks(count, methods):
    random = np.random.default_rng([count, methods])
    rows = [
        [random_sample(random, count, examples, drawn=row != 1 or task) for task, examples in enumerate((50, 900))]
        for row in range(methods)
    ]
    expected = loops(rows, count, list(combinations(range(methods), 2)))
    for difference, (pair, (shared, luck, *variances)) in zip(differences(rows), expected.items(), strict=True):
        for estimated, (variance, freedom) in zip((difference.tested, difference.stated), variances, strict=True):
            assert tuple(map(float, estimated.variances)) == pytest.approx((variance, shared, luck), rel=1e-9)
            assert freedom - 0.05 <= estimated.freedom <= freedom + 1e-9
            assert estimated.over == ("seeds" if 1 in pair else "seeds and examples"), "row 1 lacks resampled scores"
            t, z = stats.t.ppf(0.975, estimated.freedom), stats.t.ppf(0.975, 49)
            width = math.sqrt(z**2 * shared + max(z**2 * luck, t**2 * variance))
            assert estimated.high - estimated.mean == pytest.approx(width, rel=1e-7)


def test_the_interval_of_a_pair_trusts_a_large_variance_and_its_test_does_not():
    random = np.random.default_rng(2)
    rows = [[random_sample(random, 3, drawn=False, spread=spread)] for spread in (9.0, 1.0, 1.0, 1.0)]
    pairs = combinations(range(4), 2)
    for (one, other), (stated, tested) in zip(pairs, differences(rows), strict=True):
        own = stats.ttest_rel(rows[one][0].values, rows[other][0].values).confidence_interval(0.95)
        if one == 0:
            assert (stated.low, stated.high) == pytest.approx(tuple(own), rel=1e-7)
            assert stated.margin > 1.5 * tested.margin
        else:
            assert (stated.low, stated.high) == (tested.low, tested.high)


def test_two_rows_get_the_exact_paired_t_test():
    random = np.random.default_rng(0)
    one, other = [random_sample(random, 5, drawn=False)], [random_sample(random, 5, drawn=False)]
    ((estimated, tested),) = differences([one, other])
    assert (estimated.low, estimated.high) == (tested.low, tested.high)
    expected = stats.ttest_rel(one[0].values, other[0].values)
    assert estimated.p == pytest.approx(expected.pvalue, rel=1e-3)
    assert (estimated.low, estimated.high) == pytest.approx(tuple(expected.confidence_interval(0.95)), rel=1e-7)


def test_a_pair_with_a_variance_of_0_by_chance_is_moderated():
    """Two rows have by chance the same difference in all three seeds: their variance is 0, that of others is not."""
    scores = [80.0, 81.0, 83.0], [79.0, 80.0, 82.0], [84.0, 80.0, 81.0], [79.0, 84.0, 82.0]
    rows = [[Sample((1, 2, 3), np.array(values))] for values in scores]
    first = differences(rows)[0].stated
    assert first.mean == pytest.approx(1)
    assert first.error > 0.3
    assert first.p > 0.2


def test_a_collapsed_row_does_not_widen_the_intervals_of_others():
    random = np.random.default_rng(1)
    rows = [[random_sample(random, 3, drawn=False)] for _ in range(4)]
    bad = [Sample((0, 1, 2), np.array([80.0, 20.0, 81.0]))]
    alone, kept_out, pooled = (
        found[0].tested for found in (differences(rows), differences([*rows, bad], [4]), differences([*rows, bad]))
    )
    assert kept_out.error == pytest.approx(alone.error)
    assert pooled.error > 3 * alone.error


def test_a_large_variance_is_that_of_the_pair_also_if_two_usual_rows_are_left():
    random = np.random.default_rng(2)
    rows = [[random_sample(random, 3, drawn=False, spread=spread) for _ in range(3)] for spread in (1.0, 1.0)]
    collapsed = [random_sample(random, 3, drawn=False, spread=spread) for spread in (1.0, 1.0, 40.0)]
    usual, one, other = (found.stated for found in differences([*rows, collapsed], [2]))
    alone = differences([rows[0], collapsed])[0].stated
    assert (one.error, one.freedom) == (pytest.approx(alone.error), alone.freedom)
    assert one.freedom < usual.freedom
    assert other.freedom < usual.freedom


@pytest.mark.parametrize("copies", [2, 4])
def test_a_row_that_is_listed_twice_does_not_shorten_intervals(copies):
    random = np.random.default_rng(4)
    one, other = [random_sample(random, 3, drawn=False)], [random_sample(random, 3, drawn=False)]
    (expected,) = differences([one, other])
    *_, found = differences([*[one] * copies, other])
    assert found == expected
    three = [*[one] * copies, other, [random_sample(random, 3, drawn=False)]]
    assert differences(three)[-1] == differences([three[0], *three[-2:]])[-1]


def test_the_interval_ends_at_0_if_p_is_5_percent():
    random = np.random.default_rng(3)
    rows = [[random_sample(random, 3, drawn=row > 1)] for row in range(4)]
    for difference in differences(rows):
        for each in difference:
            assert replace(each, mean=each.margin).p == pytest.approx(0.05, rel=1e-6)


def test_p_is_never_0():
    """Of two rows with resampled scores, one is wrong and the other right on every example."""
    wrong, right = ([Sample((1, 2, 3), np.full(3, score), np.full((50, 3), score), 50)] for score in (0.0, 1.0))
    ((estimated, _),) = differences([wrong, right])
    assert estimated.p == pytest.approx(SMALLEST)
    assert p_values([]) == []


def test_identical_rows_have_an_interval_of_0():
    random = np.random.default_rng(0)
    row, other = ([random_sample(random, 3) for _ in range(2)] for _ in range(2))
    same = differences([row, other, row])[1].stated
    assert (same.mean, same.error, same.p) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e5])
@pytest.mark.parametrize("drawn", [True, False])
def test_rows_whose_scores_differ_by_rounding_errors_are_equal(size, drawn):
    """Without a variance, an error in the last bit would be significant."""
    random = np.random.default_rng(0)
    (one,) = [random_sample(random, 3, drawn=drawn)]
    row = [replace(one, values=one.values * size, draws=None if one.draws is None else one.draws * size)]
    other = [replace(row[0], values=row[0].values * (1 + 1e-12))]
    ((stated, tested),) = differences([row, other])
    assert row[0].mean != other[0].mean
    assert [(each.mean, each.p, each.clear) for each in (stated, tested)] == [(0.0, 1.0, False)] * 2


def test_a_difference_that_is_the_same_with_every_seed_has_no_known_error():
    """As of a metric without a resampled form, and two rows that differ on one example alone."""
    one, other = ([Sample((1, 2, 3), np.array([0.8, 0.82, 0.84]) + more)] for more in (0.0, 0.001))
    ((stated, tested),) = differences([one, other])
    for each in (stated, tested, effect([one], [other])):
        assert each.mean == pytest.approx(-0.001)
        assert (each.over, each.low, each.p, each.repeated) == (None, None, None, True)
    varying = differences([one, [Sample((1, 2, 3), np.array([0.8, 0.82, 0.841]))]])[0].stated
    assert (varying.over, varying.repeated) == ("seeds", False)


def test_different_seeds_cannot_be_paired():
    random = np.random.default_rng(0)
    with pytest.raises(ValueError, match="cannot be paired"):
        differences([[random_sample(random, 3)], [random_sample(random, 4)]])
