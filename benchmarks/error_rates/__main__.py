"""`python -m benchmarks.error_rates`: simulates the tables of docs/statistics.md. The defaults take hours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Annotated

import numpy as np
import typer

from benchmarks.error_rates.rates import (
    DIFFERENCES,
    METRICS,
    Coverage,
    coverage,
    difference_coverage,
    errors,
    power,
    regimes,
)
from benchmarks.error_rates.worlds import Board, Row

SEEDS, METHODS, TASKS = (3, 5, 10), (2, 8, 20), (1, 3, 8)
SPREADS = (0.02, 0.1, 0.3, 0.5)
AVERAGED = (1, 2, 4)
SKILLS = ((0.7, 0.2), (1.3, 0.3), (2.2, 0.4), (3.0, 0.5))
"""Mean and standard deviation of a seed's latent skill."""


def run(
    boards: Annotated[int, typer.Option(help="simulated boards per regime")] = 1000,
    times: Annotated[int, typer.Option(help="simulated rows per regime of the coverage table")] = 1000,
    seed: Annotated[int, typer.Option(help="seed of all simulations")] = 1,
) -> None:
    """Print the tables as markdown, line by line."""
    tables = (
        difference_table(boards, seed),
        _error_table(boards, seed),
        _coverage_table(times, seed),
        _average_table(times, seed),
    )
    for table in tables:
        for line in table:
            print(line, flush=True)
        print(flush=True)


def difference_table(boards: int, seed: int) -> Iterator[str]:
    """Coverage of the intervals of differences, as stated and as tested; half-widths in standard errors."""
    yield "| rows | seeds | stated: smallest, mean | half-width | tested: smallest, mean | half-width |"
    yield "|:--|--:|--:|--:|--:|--:|"
    for (name, students), seeds in product(DIFFERENCES.items(), (2, *SEEDS[:2])):
        found = difference_coverage(replace(students, seeds=seeds), boards, np.random.default_rng([seed, seeds]))
        yield f"| {name} | {seeds} | {' | '.join(map(_covered, found))} |"


def _covered(coverage: Coverage | None) -> str:
    if coverage is None:
        return "– | –"
    return f"{coverage.smallest:.1%}, {coverage.mean:.1%} | {coverage.width:.1f}"


def _error_table(boards: int, seed: int) -> Iterator[str]:
    yield "| seeds | methods | tasks | pairs: mean, worst | worst, 6 x | group: worst | power at ratio 0.2, 1, 5, 10 |"
    yield "|--:|--:|--:|--:|--:|--:|--:|"
    for seeds, methods, tasks in product(SEEDS, METHODS, TASKS):
        generator = np.random.default_rng([seed, seeds, methods, tasks])
        equal, unequal = (
            [errors(b, Board.normal, boards, generator) for b in regimes(seeds, methods, tasks, unequal=unequal)]
            for unequal in (False, True)
        )
        shared = [board for board in regimes(seeds, methods, tasks, unequal=False) if board.shared]
        powers = [power(board, Board.normal, max(1, boards // 4), generator) for board in shared]
        cells = (
            f"{np.mean([rates.pairs for rates in equal]):.1%}, {max(rates.pairs for rates in equal):.1%}",
            f"{max(rates.pairs for rates in unequal):.1%}",
            f"{max(rates.group for rates in (*equal, *unequal)):.1%}",
            ", ".join(f"{value:.0%}" for value in powers),
        )
        yield f"| {seeds} | {methods} | {tasks} | {' | '.join(cells)} |"


def _coverage_table(times: int, seed: int) -> Iterator[str]:
    yield "| metric | seeds | coverage at seed/example ratio ... |"
    yield "|:--|--:|:--|"
    for (kind, metric), seeds in product(METRICS, SEEDS):
        generator = np.random.default_rng([seed, seeds])
        results = [coverage(Row(kind, metric, seeds, spread), times, generator) for spread in SPREADS]
        yield f"| {metric} | {seeds} | {', '.join(f'{covered:.1%} at {ratio:.1f}' for covered, ratio in results)} |"


def _average_table(times: int, seed: int) -> Iterator[str]:
    """Coverage of the intervals of averages, of accuracies near 100 and far from it."""
    yield "| true score | seeds | coverage of the average over 1, 2, 4 tasks |"
    yield "|--:|--:|:--|"
    for (skill, spread), seeds in product(SKILLS, SEEDS):
        generator = np.random.default_rng([seed, seeds])
        row = Row("classification", "accuracy", seeds, spread, skill=skill)
        covered = [coverage(row, times, generator, tasks=tasks)[0] for tasks in AVERAGED]
        truth, _ = row.truth(generator)
        yield f"| {truth:.1f} | {seeds} | {', '.join(f'{share:.1%}' for share in covered)} |"


if __name__ == "__main__":
    typer.run(run)
