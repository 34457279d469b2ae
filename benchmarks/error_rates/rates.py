"""Family-wise error and power of top groups, and coverage of intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from benchmarks.error_rates.worlds import EXAMPLES, Board, Row, Scorer
from harness.analysis.inference import Sample
from harness.analysis.row_differences import within
from harness.analysis.score_intervals import interval
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
