"""Family-wise error and power of the groups, and coverage of the intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from benchmarks.error_rates.worlds import EXAMPLES, Board, Row, Scorer
from harness.analysis.inference import Sample
from harness.analysis.score_intervals import interval
from harness.analysis.top_groups import compare, top_group

RATIOS = (0.2, 1.0, 5.0, 10.0)
"""Seeds' standard deviation over the examples'."""

SHARED = (0.8, 0.0)
"""Shares of the example effects that a method's seeds share."""

AHEAD = 5.0
"""The difference whose power is told, in standard deviations of a single score."""

METRICS = (
    ("classification", "accuracy"),
    ("classification", "f1"),
    ("classification", "matthews_correlation"),
    ("regression", "pearson"),
    ("regression", "spearmanr"),
    ("qa", "exact"),
)

Table = Callable[[Board, np.random.Generator], dict[str, list[Sample]]]


@dataclass(frozen=True)
class Errors:
    """Shares of simulated boards.

    Attributes:
        pairs: some two equal methods are told apart.
        group: an equal method is left out of the top group.
        boards: how many were simulated.
    """

    pairs: float
    group: float
    boards: int

    @property
    def sure(self) -> float:
        """The one-sided 95 % Monte Carlo bound of a rate of 0.05 in so many boards."""
        return 0.05 + 1.645 * math.sqrt(0.05 * 0.95 / self.boards)


def errors(board: Board, table: Table, boards: int, generator: np.random.Generator) -> Errors:
    """Family-wise error rates of equal methods."""
    pairs = group = 0
    for _ in range(boards):
        made = table(board, generator)
        found = compare("student", made)
        best = max(made, key=lambda label: sum(sample.mean for sample in made[label]))
        pairs += any(each.distinguished for each in found)
        group += len(top_group(best, found)) < board.methods
    return Errors(pairs / boards, group / boards, boards)


def power(board: Board, table: Table, boards: int, generator: np.random.Generator) -> float:
    """How many of the pairs of a method that is `AHEAD` and another are told apart."""
    ahead = replace(board, ahead=AHEAD * (1 + board.ratio**2) ** 0.5)
    told = 0
    for _ in range(boards):
        found = compare("student", table(ahead, generator))
        told += sum(each.distinguished for each in found if "0" in each.labels)
    return told / boards / (board.methods - 1)


def regimes(seeds: int, methods: int, tasks: int, *, unequal: bool) -> Iterator[Board]:
    """All ratios, with example effects that are shared and such that are drawn anew."""
    for ratio, shared in product(RATIOS, SHARED):
        yield Board(methods, seeds, tasks, ratio, shared, unequal=unequal)


def coverage(row: Row, times: int, generator: np.random.Generator, examples: int = EXAMPLES) -> tuple[float, float]:
    """The share of 95 % intervals that hold the truth, and the ratio of the seeds' and the examples' spread."""
    scorer = Scorer(row.kind, row.metric, examples)
    truth, spread = row.truth(generator)
    held, of_examples = 0, []
    for _ in range(times):
        (sample,) = scorer.samples([row.answers(examples, generator)])
        low, high = interval(sample)
        held += low is not None and high is not None and low <= truth <= high
        if sample.draws is not None:
            of_examples.append(sample.draws.std(axis=0).mean())
    return held / times, spread / float(np.mean(of_examples))
