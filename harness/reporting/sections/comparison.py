"""Rows of a board, compared with one of them: on the average and on each task. What several sections share."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from harness.analysis.interval_coverage import covers
from harness.analysis.paired_effects import EXPLAINED, TOO_FEW, Effect, Scores, effect, mean
from harness.analysis.summary import INCOMPLETE, Row, Summary
from harness.reporting.export_rows import exact
from harness.reporting.formatting import NOTHING, signed

MAX_NAMED = 8
"""Rows that a sentence names; of more it gives the number."""


@dataclass(frozen=True)
class Scope:
    """What a score is of: one task, or the average over several."""

    name: str
    tasks: tuple[str, ...]
    higher_is_better: bool = True

    def scores(self, row: Row) -> Scores | None:
        """The row's scores, task by task; None unless it is complete on every one."""
        samples = [sample for task in self.tasks if (sample := row.cells[task].sample)]
        return samples if len(samples) == len(self.tasks) else None


def compared_scopes(results: Summary, rows: Sequence[Row]) -> list[Scope]:
    """The average first, if there is one, then the tasks: those that count and of which some row has a score to come.

    There is no average of a single task, or where for some tasks less is better and for others more.
    """
    tasks = [
        task
        for task in results.plan.tasks
        if not task.diagnostic and any(row.cells[task.name].state != "not applicable" for row in rows)
    ]
    each = [Scope(task.name, (task.name,), task.higher_is_better) for task in tasks]
    directions = {task.higher_is_better for task in tasks}
    if len(tasks) < 2 or len(directions) > 1:
        return each
    return [Scope("average", tuple(task.name for task in tasks), *directions), *each]


@dataclass(frozen=True)
class ComparisonLine:
    """A line of a comparison. By scope: `means` of its scores, `effects` (its differences from the reference), and
    `words` that stand where there is neither. The reference itself has no effects."""

    names: tuple[str, ...]
    means: Mapping[str, float]
    effects: Mapping[str, Effect]
    words: Mapping[str, str]
    reference: bool = False


def compare(
    names: Sequence[str],
    ours: Mapping[str, Sequence[Scores]],
    reference: Mapping[str, Sequence[Scores]] | None,
    words: Mapping[str, str],
) -> ComparisonLine:
    """A line, of scores by scope that are paired with the reference's; no scores: they are not all there, and `words`
    says why. `reference` is None for the reference itself."""
    theirs = reference or {}
    return ComparisonLine(
        tuple(names),
        means={name: statistics.fmean(mean(seeds) for seeds in scores) for name, scores in ours.items() if scores},
        effects={name: effect(scores, theirs[name]) for name, scores in ours.items() if scores and theirs.get(name)},
        words={name: words[name] for name, scores in ours.items() if not scores},
        reference=reference is None,
    )


def table(headers: Sequence[str], lines: Iterable[ComparisonLine], scopes: Sequence[Scope]) -> str:
    """Markdown. The first scope has a mean and a difference, the others a difference."""
    lead, *others = scopes
    rows = [
        [
            *(f"*{name}*" if line.reference and name else name for name in line.names),
            f"{line.means[lead.name]:.1f}" if lead.name in line.means else line.words.get(lead.name, NOTHING),
            *("*reference*" if line.reference and scope is lead else _difference(line, scope) for scope in scopes),
        ]
        for line in lines
    ]
    titles = [*headers, lead.name, "difference", *(scope.name for scope in others)]
    align = [*["left"] * len(headers), *["right"] * (len(titles) - len(headers))]
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    return tabulate(escaped, headers=titles, tablefmt="pipe", colalign=align, disable_numparse=True)


def _difference(line: ComparisonLine, scope: Scope) -> str:
    found = line.effects.get(scope.name)
    return format_effect(found) if found else "" if line.reference else line.words.get(scope.name, NOTHING)


def format_effect(found: Effect) -> str:
    """``+0.4 [-0.1, +0.9]``; without interval where there is none."""
    mean = signed(found.mean)
    return mean if found.low is None or found.high is None else f"{mean} [{signed(found.low)}, {signed(found.high)}]"


def how_to_read(results: Summary, scopes: Sequence[Scope], reference: str) -> str:
    """What the columns of a `table` are."""
    lead, *others = scopes
    over = f" over {', '.join(lead.tasks)}" if len(lead.tasks) > 1 else ""
    tasks = "; then the differences on each task" if others else ""
    explained = EXPLAINED.format(covers=covers(results.plan))
    intervals = explained if len(results.plan.seeds) > 1 else f"{explained} {TOO_FEW}"
    return f"Points of the board: {lead.name}{over}, its difference from {reference}{tasks}. {intervals}"


def csv_rows(
    fixed: Mapping[str, Any], keys: Sequence[str], lines: Iterable[ComparisonLine], scopes: Sequence[Scope]
) -> list[dict[str, Any]]:
    """One row for each line and scope that has a mean: `fixed`, the line's names under `keys`, and its numbers."""
    return [
        {
            **fixed,
            **dict(zip(keys, line.names, strict=True)),
            "scope": scope.name,
            "mean": exact(line.means[scope.name]),
            "difference": exact(found.mean) if (found := line.effects.get(scope.name)) else None,
            "low": exact(found.low) if found else None,
            "high": exact(found.high) if found else None,
            "seeds": found.seeds if found else None,
        }
        for line in lines
        for scope in scopes
        if scope.name in line.means
    ]


def paired_once(scores: Scores | None) -> list[Scores]:
    """The only pair of a comparison of two rows, or none."""
    return [] if scores is None else [scores]


def missing_word(rows: Collection[Row], scope: Scope) -> str:
    """Why there is no score of the rows to compare, in a word."""
    if any(scope.scores(row) for row in rows):
        return NOTHING
    states = {row.cells[task].state for row in rows for task in scope.tasks}
    if "not applicable" in states and not states & INCOMPLETE:
        return "n/a"
    return next((word for word in ("missing", "failed", "undefined") if word in states), NOTHING)


def incomplete_rows(rows: Mapping[str, Row], scope: Scope) -> str:
    """A sentence that says which rows, by their keys, lack which results; nothing if all are there."""
    lacking = [f"`{name}` ({', '.join(_lacks(row, scope))})" for name, row in rows.items() if scope.scores(row) is None]
    return f"Without all results: {join_names(lacking)}." if lacking else ""


def _lacks(row: Row, scope: Scope) -> list[str]:
    cells = {task: row.cells[task].state for task in scope.tasks}
    words = {"not applicable": "n/a"}
    lacking = {task: words.get(found, found) for task, found in cells.items() if found != "complete"}
    if len(lacking) == len(scope.tasks) and len(set(lacking.values())) == 1:
        return [next(iter(lacking.values()))]
    return [f"{found} on {task}" for task, found in lacking.items()]


def join_names(names: Sequence[str]) -> str:
    """All of them, or the first few and how many more."""
    more = len(names) - MAX_NAMED
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:MAX_NAMED])} and {more} more"
