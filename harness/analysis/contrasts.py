"""Examples on which two rows of a board give answers of different quality, for the rows' side-by-side comparison.

The error of a row on an example is the mean error over its seeds (`harness.analysis.example_errors.error_sizes`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from harness.analysis.cell_results import RowName, keys_by_cell
from harness.analysis.compatibility import Result
from harness.analysis.example_errors import AnswerText, error_sizes, is_hidden
from harness.analysis.prediction_tables import PredictionTable
from harness.analysis.student_t import Floats
from harness.storage.plan_file import PlanFile, PlannedTask

EXAMPLES_PER_SIDE = 10
"""Maximum number of examples of a pair on which one of its rows is better."""

MAX_DIFFERENCES = 20_000
"""Maximum number of pairs of rows, times tasks, that can be compared."""

SAME = 1e-9
"""Errors that differ by less are equal."""


@dataclass(frozen=True, slots=True)
class ContrastExample:
    """An example on which rows differ. `gold` is the right answer as text."""

    split: str
    id: str
    gold: str


@dataclass(frozen=True, slots=True)
class PairContrast:
    """How the first row of a pair compares with the second.

    Attributes:
        better, worse: numbers of examples on which the mean error over seeds of the first row is smaller, or larger.
        examples: indices of `Contrasts.examples`, the largest differences first, those with `better` before the others.
    """

    better: int
    worse: int
    examples: tuple[int, ...]


@dataclass(frozen=True)
class Contrasts:
    """The contrasts of all pairs of rows on a task.

    Attributes:
        fingerprint: of the task's scored examples.
        scored: number of examples.
        answers: row -> for each of `examples` the answers of its seeds as a text, and the share of right answers (None
            for a regression).
        pairs: (row, row) -> contrast, for each pair in the order of `answers`.
    """

    fingerprint: str
    scored: int
    examples: Sequence[ContrastExample]
    answers: Mapping[RowName, Sequence[tuple[str, float | None]]]
    pairs: Mapping[tuple[RowName, RowName], PairContrast]


@dataclass(frozen=True)
class RowContrasts:
    """The rows of a board that can be compared, and task -> their contrasts.

    Tasks whose predictions are not known are left out.
    """

    rows: Sequence[RowName]
    by_task: Mapping[str, Contrasts]


def compared_rows(plan: PlanFile, results: Mapping[str, Result]) -> list[RowName]:
    """Return the rows that can be compared: all, or of a large board the teachers and the rows with the best scores."""
    cells = keys_by_cell(plan)
    rows = list(dict.fromkeys(row for row, _ in cells))
    most = int((1 + (1 + 8 * MAX_DIFFERENCES / len(plan.tasks)) ** 0.5) / 2)
    if len(rows) <= most:
        return rows
    signs = {task.name: (1 if task.higher_is_better else -1) / (100 if task.percent else 1) for task in plan.tasks}
    scores: dict[RowName, list[float]] = {}
    for (row, task), keys in cells.items():
        known = [results[key].score for key, _ in keys if key in results]
        scores.setdefault(row, []).extend(
            signs[task] * score for score in known if score is not None and math.isfinite(score)
        )
    best = sorted(rows, key=lambda row: (row[0] != "teacher", -np.mean(scores[row]) if scores[row] else np.inf))[:most]
    return [row for row in rows if row in set(best)]


def contrasts(
    plan: PlanFile,
    task: PlannedTask,
    rows: Sequence[RowName],
    results: Mapping[str, Result],
    tables: Mapping[str, PredictionTable],
) -> Contrasts | None:
    """Compare the answers of all pairs of `rows` on a task. None if the labels are hidden, or fewer than two rows have
    predictions of all their seeds."""
    cells = keys_by_cell(plan)
    members: dict[RowName, list[tuple[Result, PredictionTable]]] = {}
    for row in rows:
        keys = [key for key, _ in cells.get((row, task.name), ())]
        if keys and all(key in tables and key in results for key in keys):
            members[row] = [(results[key], tables[key]) for key in keys]
    if len(members) < 2:
        return None
    shared = next(iter(members.values()))[0][1].examples
    members = {row: runs for row, runs in members.items() if all(table.examples is shared for _, table in runs)}
    if is_hidden(task, shared.labels):
        return None
    errors, right = (
        np.stack(parts) for parts in zip(*(_by_example(task, runs) for runs in members.values()), strict=True)
    )
    names, contested = list(members), errors.var(axis=0)
    chosen = {
        (names[one], names[other]): _contrast(errors[one] - errors[other], contested)
        for one, other in combinations(range(len(names)), 2)
    }
    used = sorted({index for _, _, indices in chosen.values() for index in indices})
    places = {index: place for place, index in enumerate(used)}
    text = AnswerText(task)
    return Contrasts(
        fingerprint=next(iter(members.values()))[0][0].data_fingerprint,
        scored=len(shared.ids),
        examples=[ContrastExample(str(shared.splits[at]), str(shared.ids[at]), text(shared.labels[at])) for at in used],
        answers={
            row: _answers(task, [table for _, table in runs], used, shares)
            for (row, runs), shares in zip(members.items(), right, strict=True)
        },
        pairs={
            pair: PairContrast(better, worse, tuple(places[index] for index in indices))
            for pair, (better, worse, indices) in chosen.items()
        },
    )


def _by_example(task: PlannedTask, runs: Sequence[tuple[Result, PredictionTable]]) -> tuple[Floats, Floats]:
    """Return [examples] each: the mean error over the seeds of a row, and the share of right answers."""
    sizes = np.stack([error_sizes(task, table, result.metrics.get("exact")) for result, table in runs])
    return sizes.mean(axis=0), (sizes == 0).mean(axis=0)


def _contrast(difference: Floats, contested: Floats) -> tuple[int, int, list[int]]:
    """Return the numbers of examples on which the first row is better and worse, and the indices of the chosen ones.

    Args:
        difference: [examples], the error of the first row minus that of the second.
        contested: [examples], the variance of the error over all rows. Of equal differences, the most contested
            examples are chosen, so that many pairs share their examples.
    """
    better, worse = np.flatnonzero(difference < -SAME), np.flatnonzero(difference > SAME)
    chosen = [index for side in (better, worse) for index in _largest(side, np.abs(difference), contested)]
    return len(better), len(worse), chosen


def _largest(indices: NDArray[np.intp], difference: Floats, contested: Floats) -> list[int]:
    order = np.lexsort((-contested[indices], -difference[indices].round(6)))
    chosen: list[int] = indices[order[:EXAMPLES_PER_SIDE]].tolist()
    return chosen


def _answers(
    task: PlannedTask, tables: Sequence[PredictionTable], examples: Sequence[int], right: Floats
) -> list[tuple[str, float | None]]:
    """Return a row's answers on the examples, and the shares of right ones. Of a regression: the value of each seed."""
    text = AnswerText(task)
    answers: list[tuple[str, float | None]] = []
    for at in examples:
        given = [text(table.predictions[at]) for table in tables]
        if task.kind == "regression":
            answers.append((", ".join(given), None))
        else:
            answers.append((_counted(given), float(right[at])))
    return answers


def _counted(answers: Sequence[str]) -> str:
    """Return the answers of all seeds: ``positive``, or ``positive (2 of 3), negative (1 of 3)``."""
    counts = Counter(answers).most_common()
    if len(counts) == 1:
        return answers[0]
    return ", ".join(f"{answer} ({count} of {len(answers)})" for answer, count in counts)
