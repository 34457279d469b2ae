"""How many decimals a board prints of each column of scores: one of a share, as many as it needs of an error."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from harness.analysis.summary import BoardRow, Statistic, is_error
from harness.storage.plan_file import PlanFile

MOST_DIGITS = 6
"""Maximum number of significant digits of the largest score of a column."""

ROUNDING = 1e-9
"""Margins below this share of the score are rounding errors of equal seeds."""


def with_decimals(plan: PlanFile, rows: Sequence[BoardRow]) -> list[BoardRow]:
    """Set `Statistic.decimals` of the scores and averages. `rows` are all rows of the board, so that columns agree."""
    errors = [task for task in plan.tasks if is_error(task)]
    if not errors:
        return list(rows)
    by_task = {task.name: decimals(row.cells[task.name].score for row in rows) for task in errors}
    averages = decimals(row.average for row in rows) if any(not task.diagnostic for task in errors) else 1
    return [_printed(row, by_task, averages) for row in rows]


def _printed(row: BoardRow, by_task: dict[str, int], averages: int) -> BoardRow:
    cells = {
        name: replace(cell, score=replace(cell.score, decimals=by_task[name]))
        if cell.score and name in by_task
        else cell
        for name, cell in row.cells.items()
    }
    return replace(row, cells=cells, average=row.average and replace(row.average, decimals=averages))


def decimals(column: Iterable[Statistic | None]) -> int:
    """The decimals that two significant digits of the smallest margin need; without margins, three of the smallest
    mean."""
    known = [statistic for statistic in column if statistic]
    means = [abs(statistic.mean) for statistic in known if statistic.mean]
    margins = [s.margin for s in known if s.margin and s.margin > ROUNDING * abs(s.mean)]
    if not means:
        return 1
    wanted = 1 - _magnitude(min(margins)) if margins else 2 - _magnitude(min(means))
    return max(0, min(wanted, MOST_DIGITS - 1 - _magnitude(max(means))))


def _magnitude(value: float) -> int:
    """The exponent of the first significant digit."""
    return math.floor(math.log10(value))
