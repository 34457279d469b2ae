"""`python -m benchmarks.error_rates`: the tables of docs/results.md, by simulation; the defaults take hours."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Annotated

import numpy as np
import typer

from benchmarks.error_rates.rates import METRICS, coverage, errors, power, regimes
from benchmarks.error_rates.worlds import Board, Row

SEEDS, METHODS, TASKS = (3, 5, 10), (2, 8, 20), (1, 3, 8)
SPREADS = (0.02, 0.1, 0.3, 0.5)


def run(
    boards: Annotated[int, typer.Option(help="simulated boards of each regime")] = 1000,
    times: Annotated[int, typer.Option(help="simulated rows of each regime of the coverage")] = 1000,
    seed: Annotated[int, typer.Option(help="of all simulations")] = 1,
) -> None:
    """Print the tables as markdown, line by line as they are computed."""
    for line in (*_error_table(boards, seed), "", *_coverage_table(times, seed)):
        print(line, flush=True)


def _error_table(boards: int, seed: int) -> Iterator[str]:
    yield "| seeds | methods | tasks | pairs: mean, worst | worst, 6 x | group: worst | power at ratio 0.2, 1, 5, 10 |"
    yield "|--:|--:|--:|--:|--:|--:|--:|"
    for seeds, methods, tasks in product(SEEDS, METHODS, TASKS):
        generator = np.random.default_rng([seed, seeds, methods, tasks])
        equal, unequal = (
            [errors(each, Board.normal, boards, generator) for each in regimes(seeds, methods, tasks, unequal=unequal)]
            for unequal in (False, True)
        )
        shown = [each for each in regimes(seeds, methods, tasks, unequal=False) if each.shared]
        powers = [power(each, Board.normal, max(1, boards // 4), generator) for each in shown]
        cells = (
            f"{np.mean([each.pairs for each in equal]):.1%}, {max(each.pairs for each in equal):.1%}",
            f"{max(each.pairs for each in unequal):.1%}",
            f"{max(each.group for each in (*equal, *unequal)):.1%}",
            ", ".join(f"{each:.0%}" for each in powers),
        )
        yield f"| {seeds} | {methods} | {tasks} | {' | '.join(cells)} |"


def _coverage_table(times: int, seed: int) -> Iterator[str]:
    yield "| metric | seeds | coverage at seed/example ratio ... |"
    yield "|:--|--:|:--|"
    for (kind, metric), seeds in product(METRICS, SEEDS):
        generator = np.random.default_rng([seed, seeds])
        found = [coverage(Row(kind, metric, seeds, spread), times, generator) for spread in SPREADS]
        yield f"| {metric} | {seeds} | {', '.join(f'{held:.1%} at {ratio:.1f}' for held, ratio in found)} |"


if __name__ == "__main__":
    typer.run(run)
