"""Coverage if methods depend on the teacher, by simulation through the code of the board."""

import numpy as np
import pytest

from harness.analysis import top_groups
from harness.analysis.bootstrap import resamples
from harness.analysis.inference import Sample, estimate
from harness.analysis.pairwise import differences
from harness.analysis.row_differences import within
from harness.analysis.suite_level import gap_closed

EXAMPLES, BOARDS = 80, 400
COUNTS = resamples(EXAMPLES, 200, np.random.default_rng(1)).counts
OF_SEEDS, OF_TEACHERS, OF_EXAMPLES = 1.0, 1.0, 8.0
"""Standard deviations of the effects of seeds, of teachers on a method, and of examples."""


def board(random: np.random.Generator, seeds: int, teachers: int, methods: int = 2) -> list[Sample]:
    """Methods with a score of 80 with the average teacher. `teachers`: 1, or the number of seeds."""
    shared = random.normal(0, OF_EXAMPLES, size=(EXAMPLES, 1))
    tables = [
        80
        + shared
        + random.normal(0, OF_TEACHERS, size=teachers)  # broadcast over the seeds where there is one teacher
        + random.normal(0, OF_SEEDS, size=seeds)
        + random.normal(0, OF_EXAMPLES / 2, size=(EXAMPLES, 1))
        + random.normal(0, OF_EXAMPLES, size=(EXAMPLES, seeds))
        for _ in range(methods)
    ]
    return [Sample(tuple(range(seeds)), table.mean(axis=0), COUNTS @ table / EXAMPLES, EXAMPLES) for table in tables]


def coverage(seeds: int, teachers: int) -> tuple[float, float]:
    """The coverage of the intervals of a score, and of a difference of two equal methods."""
    random = np.random.default_rng([seeds, teachers])
    boards = [board(random, seeds, teachers) for _ in range(BOARDS)]
    scores = [estimate([one]) for one, _ in boards]
    pairs = [differences([[one], [other]])[0].stated for one, other in boards]
    return (
        sum(score.low <= 80 <= score.high for score in scores) / BOARDS,
        sum(not pair.clear for pair in pairs) / BOARDS,
    )


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_intervals_cover_with_a_teacher_per_seed(seeds):
    for covered in coverage(seeds, teachers=seeds):
        assert 0.93 <= covered <= 0.98


def test_intervals_cover_too_little_with_one_teacher_and_less_with_more_seeds():
    few, more, many = (coverage(seeds, teachers=1)[1] for seeds in (3, 5, 10))
    assert 0.94 > few > more > many
    assert many < 0.8


def error_rate(teachers: int) -> float:
    """The share of boards on which some of 8 equal methods with 10 seeds differ significantly."""
    random, boards = np.random.default_rng(teachers), 100
    rows = (
        {("student", str(place), ""): [row] for place, row in enumerate(board(random, 10, teachers, methods=8))}
        for _ in range(boards)
    )
    return sum(any(pair.distinguished for pair in top_groups.compare(within(methods))) for methods in rows) / boards


def test_a_shared_teacher_makes_equal_methods_differ_significantly():
    assert error_rate(teachers=1) > 0.4
    assert error_rate(teachers=10) <= 0.12


def test_the_interval_of_the_gap_closed_covers_teachers():
    """The gap is 16 points, and half of it is closed. Half of the effect of a teacher passes on to its students."""
    random, covered = np.random.default_rng(7), []
    for _ in range(BOARDS):
        without, method, teacher = board(random, 3, 3, methods=3)
        luck = random.normal(0, OF_TEACHERS, size=3)
        method = Sample(method.seeds, method.values + 8 + luck / 2, method.draws + 8 + luck / 2, EXAMPLES)
        teacher = Sample(teacher.seeds, teacher.values + 16 + luck, teacher.draws + 16 + luck, EXAMPLES)
        if (part := gap_closed([method], [without], [teacher], ("base", "finetune"))) is not None:
            covered.append(part.low <= 50 <= part.high)
    assert len(covered) > 0.9 * BOARDS
    assert 0.92 <= sum(covered) / len(covered) <= 0.99
