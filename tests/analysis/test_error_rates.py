"""Error rates and coverage of the statistics of a board, by simulation of the hardest regimes.

docs/statistics.md has tables of all regimes; `python -m benchmarks.error_rates` computes them.
"""

import numpy as np
import pytest

from benchmarks.error_rates.rates import DIFFERENCES, coverage, difference_coverage, errors, power
from benchmarks.error_rates.worlds import Board, Row, Scorer

pytestmark = pytest.mark.slow

BOARDS = 200
SCORER = Scorer("classification", "accuracy", examples=400, number=200)


def predicted(board, generator):
    return board.predicted(SCORER, generator)


@pytest.mark.parametrize(
    "board",
    [
        Board(methods=8, seeds=3, tasks=1, ratio=2, shared=0.8),
        Board(methods=8, seeds=3, tasks=1, ratio=5, shared=0.8),
        Board(methods=8, seeds=3, tasks=1, ratio=5, shared=0.8, unequal=True),
        Board(methods=2, seeds=3, tasks=3, ratio=5, shared=0.8),
        Board(methods=8, seeds=3, tasks=3, ratio=1, shared=0.0),
    ],
)
def test_equal_methods_differ_significantly_on_at_most_5_of_100_boards(board):
    """Satterthwaite's degrees of freedom for the whole sum give 15 % and 37 % in the first two."""
    rates = errors(board, predicted, BOARDS, np.random.default_rng(11))
    assert rates.group <= rates.pairs <= rates.bound


def test_a_much_better_method_differs_significantly():
    """Power with 8 seeds; without power, a small error rate would be trivial."""
    board = Board(methods=4, seeds=8, tasks=1, ratio=2, shared=0.8)
    assert power(board, Board.normal, 60, np.random.default_rng(3)) > 0.95


@pytest.mark.parametrize(
    "row",
    [
        Row("classification", "accuracy", 3, 0.3),
        Row("classification", "f1", 3, 0.3),
        Row("classification", "f1", 10, 0.5),
        Row("classification", "matthews_correlation", 3, 0.3),
        Row("regression", "pearson", 3, 0.5),
        Row("regression", "pearson", 10, 0.5),
        Row("qa", "exact", 3, 0.3),
    ],
)
def test_intervals_cover_if_seeds_differ_strongly(row):
    """95 % within 3 standard errors of 300 simulations. Symmetric intervals cover 87 to 91 % at 3 seeds."""
    covered, ratio = coverage(row, 300, np.random.default_rng(17), examples=400)
    assert ratio > 3
    assert 0.95 - 3 * (0.95 * 0.05 / 300) ** 0.5 < covered < 0.985


@pytest.mark.parametrize("tasks", [2, 4])
def test_intervals_of_averages_near_100_cover(tasks):
    """Of a mean accuracy of 99.3, at 3 seeds. Symmetric intervals cover 81 to 85 %."""
    covered, _ = coverage(
        Row("classification", "accuracy", 3, 0.5, skill=3.0), 250, np.random.default_rng(5), examples=400, tasks=tasks
    )
    assert covered > 0.95 - 2.5 * (0.95 * 0.05 / 250) ** 0.5


@pytest.mark.parametrize(
    ("name", "tested_at_most"),
    [
        ("6 rows, one with 3 x", 0.9),
        ("6 rows, one with 6 x", 0.85),
        ("two students, 1 and 5 rows", None),
        ("two students, 4 rows each", None),
    ],
)
def test_the_interval_of_every_difference_covers(name, tested_at_most):
    """At least 93.5 %, within 3 standard errors of 600 boards. The smallest over the pairs has the largest error."""
    stated, tested = difference_coverage(DIFFERENCES[name], 600, np.random.default_rng(23))
    assert stated.smallest > 0.935 - 3 * (0.935 * 0.065 / 600) ** 0.5
    assert 0.945 < stated.mean < 0.99
    assert (tested is None) == (tested_at_most is None)
    assert tested is None or tested.smallest < tested_at_most, "variances moderated in both directions"


def test_moderation_shortens_the_intervals_of_equal_rows():
    """With 3 seeds, the interval of a pair by itself has a half-width of 3.6 standard errors."""
    stated, tested = difference_coverage(DIFFERENCES["6 equal rows"], 200, np.random.default_rng(23))
    assert tested.width < stated.width < 2.9
