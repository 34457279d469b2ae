"""Family-wise error and power of top groups, and coverage of intervals of scores and of differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np

from benchmarks.error_rates.worlds import EXAMPLES, Board, Row, Scorer, Students
from harness.analysis.cell_results import RowName
from harness.analysis.inference import Estimate, Sample
from harness.analysis.row_differences import RowDifferences, within
from harness.analysis.score_intervals import interval
from harness.analysis.student_t import Floats
from harness.analysis.top_groups import Comparison, compare, top_group

RATIOS = (0.2, 1.0, 5.0, 10.0)
"""Standard deviation of seed effects over that of example effects."""

SHARED = (0.8, 0.0)
"""Shares of the example effects that all seeds of a method share."""

AHEAD = 5.0
"""The difference for which power is computed, in standard deviations of a single score."""

METRICS = (
    ("classification", "accuracy"),
    ("classification", "f1"),
    ("classification", "matthews_correlation"),
    ("regression", "pearson"),
    ("regression", "spearmanr"),
    ("qa", "exact"),
)

EQUAL = (1.0,) * 5
DIFFERENCES = {
    "6 equal rows": Students(((*EQUAL, 1.0),)),
    "6 rows, one with 3 x": Students(((*EQUAL, 3.0),)),
    "6 rows, one with 6 x": Students(((*EQUAL, 6.0),)),
    "6 rows, one with 6 x on 1 of 3 tasks": Students(((*EQUAL, 6.0),), tasks=3),
    "20 rows, one with 6 x": Students(((*EQUAL * 3, *EQUAL[1:], 6.0),)),
    "two students, 1 and 5 rows": Students(((1.0,), EQUAL), common=2.0),
    "two students, 4 rows each": Students((EQUAL[1:], EQUAL[1:]), common=2.0),
}
"""Regimes of the coverage of differences. "6 x": one row has 6 times the standard deviation over seeds of the others.
Rows of one of two students share an effect of each seed, with twice the standard deviation of their own."""

Simulate = Callable[[Board, np.random.Generator], dict[str, list[Sample]]]


@dataclass(frozen=True)
class Errors:
    """Family-wise error rates over simulated boards.

    Attributes:
        pairs: share of boards on which some pair of equal methods differs significantly.
        group: share of boards on which an equal method is outside of the top group.
        boards: number of simulated boards.
    """

    pairs: float
    group: float
    boards: int

    @property
    def bound(self) -> float:
        """The one-sided 95 % Monte Carlo bound of an error rate of 0.05."""
        return 0.05 + 1.645 * math.sqrt(0.05 * 0.95 / self.boards)


def errors(board: Board, simulate: Simulate, boards: int, generator: np.random.Generator) -> Errors:
    """Family-wise error rates of equal methods."""
    pairs = group = 0
    for _ in range(boards):
        rows = simulate(board, generator)
        comparisons = _compared(rows)
        best = max(rows, key=lambda label: sum(sample.mean for sample in rows[label]))
        pairs += any(pair.distinguished for pair in comparisons)
        group += len(top_group(best, comparisons)) < board.methods
    return Errors(pairs / boards, group / boards, boards)


def _compared(rows: Mapping[str, Sequence[Sample]]) -> list[Comparison]:
    return compare(within({("student", label, ""): samples for label, samples in rows.items()}))


def power(board: Board, simulate: Simulate, boards: int, generator: np.random.Generator) -> float:
    """The share of significant differences between a method that is `AHEAD` and the other methods."""
    ahead = replace(board, ahead=AHEAD * (1 + board.ratio**2) ** 0.5)
    detected = 0
    for _ in range(boards):
        comparisons = _compared(simulate(ahead, generator))
        detected += sum(pair.distinguished for pair in comparisons if "0" in pair.labels)
    return detected / boards / (board.methods - 1)


def regimes(seeds: int, methods: int, tasks: int, *, unequal: bool) -> Iterator[Board]:
    """Boards with all ratios, and with example effects that are shared by the seeds or not."""
    for ratio, shared in product(RATIOS, SHARED):
        yield Board(methods, seeds, tasks, ratio, shared, unequal=unequal)


def coverage(
    row: Row, times: int, generator: np.random.Generator, examples: int = EXAMPLES, tasks: int = 1
) -> tuple[float, float]:
    """The coverage of 95 % intervals, and the ratio of the standard deviations over seeds and over examples.

    Args:
        tasks: the number of tasks of which the interval is that of the average. All have the same true score.
    """
    scorer = Scorer(row.kind, row.metric, examples)
    truth, spread = row.truth(generator)
    covered, example_spreads = 0, []
    for _ in range(times):
        samples = [scorer.samples([row.predictions(examples, generator)])[0] for _ in range(tasks)]
        low, high = interval(samples)
        covered += low is not None and high is not None and low <= truth <= high
        example_spreads += [sample.draws.std(axis=0).mean() for sample in samples if sample.draws is not None]
    return covered / times, spread / float(np.mean(example_spreads))


@dataclass(frozen=True)
class Coverage:
    """The coverage of intervals of the differences of equal rows.

    Attributes:
        smallest: over the pairs.
        mean: over the pairs.
        width: median half-width, in true standard errors of the difference.
    """

    smallest: float
    mean: float
    width: float


def difference_coverage(
    students: Students, boards: int, generator: np.random.Generator
) -> tuple[Coverage, Coverage | None]:
    """The coverage of the stated 95 % intervals, and of those of the tests, whose variances are moderated both ways.

    Of one student: over all pairs of rows. Of two: over the pairs of a row of each, which are not tested.
    """
    stated: list[list[Estimate]] = []
    tested: list[list[Estimate]] = []
    pairs: list[tuple[RowName, RowName]] = []
    for _ in range(boards):
        differences = RowDifferences(students.scores(generator))
        alone = len(students.spreads) == 1
        pairs = [pair for pair in combinations(differences.scores, 2) if alone or pair[0][2] != pair[1][2]]
        stated.append([found for pair in pairs if (found := differences.of(students.names, *pair))])
        family = differences.family(students.names, pairs[0][0]) if alone else None
        tested.append([family.differences[pair].tested for pair in pairs] if family else [])
    errors = np.array([students.error(*pair) for pair in pairs])
    return _coverage(stated, errors), _coverage(tested, errors) if tested[0] else None


def _coverage(estimates: Sequence[Sequence[Estimate]], errors: Floats) -> Coverage:
    """Of [boards, pairs] estimates of 0. `errors`: [pairs], their true standard errors."""
    covered = 1 - np.mean([[estimate.clear for estimate in board] for board in estimates], axis=0)
    margins = np.array([[estimate.margin or 0.0 for estimate in board] for board in estimates])
    return Coverage(float(covered.min()), float(covered.mean()), float(np.median(margins / errors)))
