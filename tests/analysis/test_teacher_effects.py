"""Coverage where methods differ by teacher: by simulation, through the code that makes a board's intervals."""

import numpy as np
import pytest

from harness.analysis import top_groups
from harness.analysis.bootstrap import resamples
from harness.analysis.inference import Sample, estimate
from harness.analysis.suite_level import gap_closed

EXAMPLES, BOARDS = 80, 400
COUNTS = resamples(EXAMPLES, 200, np.random.default_rng(1)).counts
OF_SEEDS, OF_TEACHERS, OF_EXAMPLES = 1.0, 1.0, 8.0
"""Standard deviations: of a run's score by its seed, of a method's score by the teacher, of an example's points."""


def board(random: np.random.Generator, seeds: int, teachers: int, methods: int = 2) -> list[Sample]:
    """Methods that score 80 with the average teacher, on one board with `teachers` teachers: 1, or one per seed."""
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
    """Of the intervals of a score, and of a difference of two equal methods."""
    random = np.random.default_rng([seeds, teachers])
    boards = [board(random, seeds, teachers) for _ in range(BOARDS)]
    scores = [estimate([one]) for one, _ in boards]
    differences = [estimate([one - other]) for one, other in boards]
    return (
        sum(found.low <= 80 <= found.high for found in scores) / BOARDS,
        sum(found.low <= 0 <= found.high for found in differences) / BOARDS,
    )


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_with_a_teacher_per_seed_intervals_cover_what_they_should(seeds):
    for found in coverage(seeds, teachers=seeds):
        assert 0.93 <= found <= 0.98


def test_with_one_teacher_they_do_not_and_more_seeds_make_it_worse():
    few, more, many = (coverage(seeds, teachers=1)[1] for seeds in (3, 5, 10))
    assert 0.93 > few > more > many
    assert many < 0.8


def told_apart(teachers: int) -> float:
    """On how many of 100 boards some of 8 equal methods with 10 seeds are told apart."""
    random, boards = np.random.default_rng(teachers), 100
    rows = (
        {str(place): [row] for place, row in enumerate(board(random, 10, teachers, methods=8))} for _ in range(boards)
    )
    return sum(any(each.distinguished for each in top_groups.compare("student", methods)) for methods in rows) / boards


def test_groups_tell_equal_methods_apart_by_the_teacher_that_all_seeds_share():
    assert told_apart(teachers=1) > 0.4
    assert told_apart(teachers=10) <= 0.12


def test_the_part_of_the_gap_closed_covers_the_teachers():
    """The teacher is paired with its runs; half of what it is better by reaches them. A gap of 16 points; the method
    closes half of it."""
    random, found = np.random.default_rng(7), []
    for _ in range(BOARDS):
        without, own, teacher = board(random, 3, 3, methods=3)
        luck = random.normal(0, OF_TEACHERS, size=3)
        own = Sample(own.seeds, own.values + 8 + luck / 2, own.draws + 8 + luck / 2, EXAMPLES)
        teacher = Sample(teacher.seeds, teacher.values + 16 + luck, teacher.draws + 16 + luck, EXAMPLES)
        if (part := gap_closed([own], [without], [teacher], ("base", "finetune"))) is not None:
            found.append(part.low <= 50 <= part.high)
    assert len(found) > 0.9 * BOARDS
    assert 0.92 <= sum(found) / len(found) <= 0.99
