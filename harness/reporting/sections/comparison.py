"""Comparisons of board rows with a reference row, on the average and on each task. Shared by several sections.

Differences of two rows are those of `Summary.differences`, as everywhere on the board.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from harness.analysis.inference import Estimate, Scores
from harness.analysis.interval_coverage import covers
from harness.analysis.paired_effects import mean
from harness.analysis.ranking import why_no_average
from harness.analysis.score_format import NOTHING, difference
from harness.analysis.summary import INCOMPLETE, BoardRow, Summary
from harness.reporting.export_rows import exact

INTERVAL_NOTE = (
    "In brackets: the 95 % interval of the paired difference over {covers}. Pairs agree in everything that is not "
    "compared (task, seed, example, student, options). It is not corrected for the number of comparisons."
)
"""Explains the intervals of differences. `covers`: see `harness.analysis.interval_coverage`."""

MODERATED_NOTE = (
    "Two rows have the same interval everywhere on the board. Between rows of one student, a variance over seeds that "
    "is smaller than the mean of all pairs is moderated towards it."
)

ONE_SEED_NOTE = "With one seed, an interval covers the examples alone and says nothing about other seeds."

MAX_NAMED = 8
"""Maximum number of rows that a sentence names; it counts the rest."""


@dataclass(frozen=True)
class Scope:
    """The scope of a score: one task, or the average over several. `decimals`: how many are printed."""

    name: str
    tasks: tuple[str, ...]
    higher_is_better: bool = True
    decimals: int = 1

    def scores(self, row: BoardRow) -> Scores | None:
        """Return the row's scores, one element for each task; None unless all tasks are complete."""
        samples = [sample for task in self.tasks if (sample := row.cells[task].sample)]
        return samples if len(samples) == len(self.tasks) else None


def compared_scopes(results: Summary, rows: Sequence[BoardRow]) -> list[Scope]:
    """Return the average, if there is one, then each task: without diagnostic tasks and those that apply to no row.

    There is no average of a single task, or of tasks whose scores cannot be averaged (`why_no_average`).
    """
    tasks = [
        task
        for task in results.plan.tasks
        if not task.diagnostic and any(row.cells[task.name].state != "not applicable" for row in rows)
    ]
    single = [Scope(task.name, (task.name,), task.higher_is_better, results.decimals(task.name)) for task in tasks]
    if len(tasks) < 2 or why_no_average(tasks):
        return single
    average = Scope("average", tuple(task.name for task in tasks), tasks[0].higher_is_better, results.decimals(None))
    return [average, *single]


@dataclass(frozen=True)
class ComparisonLine:
    """A line of a comparison. By scope name: `means` of its scores, `effects` (its differences from the reference), and
    the `words` printed where there is neither. The reference itself has no effects."""

    names: tuple[str, ...]
    means: Mapping[str, float]
    effects: Mapping[str, Estimate]
    words: Mapping[str, str]
    reference: bool = False


def compare(
    results: Summary,
    scopes: Sequence[Scope],
    names: Sequence[str],
    rows: Mapping[str, Sequence[BoardRow]],
    reference: Mapping[str, Sequence[BoardRow]] | None,
    words: Mapping[str, str],
) -> ComparisonLine:
    """Build a line from complete rows by scope, paired with those of the reference.

    No rows mean that some scores are missing; `words` says why. `reference` is None for the reference itself.
    """
    others = reference or {}
    known = {scope: rows[scope.name] for scope in scopes if rows[scope.name]}
    effects = {
        scope.name: _difference(results, scope, ours, others[scope.name])
        for scope, ours in known.items()
        if others.get(scope.name)
    }
    return ComparisonLine(
        tuple(names),
        means={scope.name: statistics.fmean(map(mean, _scores(scope, ours))) for scope, ours in known.items()},
        effects={name: found for name, found in effects.items() if found},
        words={scope.name: words[scope.name] for scope in scopes if scope not in known},
        reference=reference is None,
    )


def compare_row(
    results: Summary, scopes: Sequence[Scope], names: Sequence[str], row: BoardRow, reference: BoardRow | None
) -> ComparisonLine:
    """Build a line from one row. `reference` may be the row itself; None: there is none."""
    return compare(
        results,
        scopes,
        names,
        _complete(row, scopes),
        None if row is reference else _complete(reference, scopes) if reference else {},
        {scope.name: missing_word([row], scope) for scope in scopes},
    )


def _complete(row: BoardRow, scopes: Sequence[Scope]) -> dict[str, list[BoardRow]]:
    """The row by scope, where it has scores."""
    return {scope.name: [row] if scope.scores(row) else [] for scope in scopes}


def _difference(
    results: Summary, scope: Scope, ours: Sequence[BoardRow], theirs: Sequence[BoardRow]
) -> Estimate | None:
    """The mean over pairs of rows, as the board states it."""
    return results.differences.mean(scope.tasks, [(a.name, b.name) for a, b in zip(ours, theirs, strict=True)])


def _scores(scope: Scope, rows: Sequence[BoardRow]) -> list[Scores]:
    return [scores for row in rows if (scores := scope.scores(row))]


def table(headers: Sequence[str], lines: Iterable[ComparisonLine], scopes: Sequence[Scope]) -> str:
    """Return a Markdown table: mean and difference for the first scope, the difference for each other scope."""
    lead, *others = scopes
    rows = [
        [
            *(f"*{name}*" if line.reference and name else name for name in line.names),
            _mean(line, lead),
            *("*reference*" if line.reference and scope is lead else _difference_cell(line, scope) for scope in scopes),
        ]
        for line in lines
    ]
    titles = [*headers, lead.name, "difference", *(scope.name for scope in others)]
    align = [*["left"] * len(headers), *["right"] * (len(titles) - len(headers))]
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    return tabulate(escaped, headers=titles, tablefmt="pipe", colalign=align, disable_numparse=True)


def _mean(line: ComparisonLine, scope: Scope) -> str:
    known = line.means.get(scope.name)
    return line.words.get(scope.name, NOTHING) if known is None else f"{known:.{scope.decimals}f}"


def _difference_cell(line: ComparisonLine, scope: Scope) -> str:
    found = line.effects.get(scope.name)
    if found:
        return difference(found, scope.decimals)
    return "" if line.reference else line.words.get(scope.name, NOTHING)


def how_to_read(results: Summary, scopes: Sequence[Scope], reference: str) -> str:
    """Explain the columns of a `table`."""
    lead, *others = scopes
    over = f" over {', '.join(lead.tasks)}" if len(lead.tasks) > 1 else ""
    tasks = "; then the differences on each task" if others else ""
    explained = INTERVAL_NOTE.format(covers=covers(results.plan))
    certainty = MODERATED_NOTE if len(results.plan.seeds) > 1 else ONE_SEED_NOTE
    return f"Points of the board: {lead.name}{over}, its difference from {reference}{tasks}. {explained} {certainty}"


def csv_rows(
    results: Summary,
    fixed: Mapping[str, Any],
    keys: Sequence[str],
    lines: Iterable[ComparisonLine],
    scopes: Sequence[Scope],
) -> list[dict[str, Any]]:
    """Return a row for each line and scope with a mean: `fixed`, the line's names under `keys`, and its numbers."""
    return [
        {
            **fixed,
            **dict(zip(keys, line.names, strict=True)),
            "scope": scope.name,
            "mean": exact(line.means[scope.name]),
            "difference": exact(found.mean) if (found := line.effects.get(scope.name)) else None,
            "low": exact(found.low) if found else None,
            "high": exact(found.high) if found else None,
            "seeds": len(results.plan.seeds) if found else None,
        }
        for line in lines
        for scope in scopes
        if scope.name in line.means
    ]


def missing_word(rows: Collection[BoardRow], scope: Scope) -> str:
    """Return the word for why the rows have no score to compare."""
    if any(scope.scores(row) for row in rows):
        return NOTHING
    states = {row.cells[task].state for row in rows for task in scope.tasks}
    if "not applicable" in states and not states & INCOMPLETE:
        return "n/a"
    return next((word for word in ("missing", "failed", "undefined") if word in states), NOTHING)


def incomplete_rows(rows: Mapping[str, BoardRow], scope: Scope) -> str:
    """Return a sentence that names the rows with missing results, by their keys; empty if all are complete."""
    incomplete = [
        f"`{name}` ({', '.join(_missing(row, scope))})" for name, row in rows.items() if scope.scores(row) is None
    ]
    return f"Rows with missing results: {join_names(incomplete)}." if incomplete else ""


def _missing(row: BoardRow, scope: Scope) -> list[str]:
    cells = {task: row.cells[task].state for task in scope.tasks}
    words = {"not applicable": "n/a"}
    missing = {task: words.get(state, state) for task, state in cells.items() if state != "complete"}
    if len(missing) == len(scope.tasks) and len(set(missing.values())) == 1:
        return [next(iter(missing.values()))]
    return [f"{state} on {task}" for task, state in missing.items()]


def join_names(names: Sequence[str]) -> str:
    """Join the names; after the first `MAX_NAMED`, say how many more there are."""
    more = len(names) - MAX_NAMED
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:MAX_NAMED])} and {more} more"
