"""Compares the scores of the rows that two boards have in common: the average, and each task.

Differences are paired, as between two rows of one board, where both boards scored the same examples with the same
seeds: all rows of a student then form one board with twice the rows, whose differences `pairwise` estimates. Else they
are the differences of independent means.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from harness.analysis import pairwise
from harness.analysis.inference import Estimate, Sample, estimate
from harness.analysis.pairwise import Difference
from harness.analysis.ranking import why_no_average
from harness.analysis.summary import BoardRow, Summary
from harness.analysis.top_groups import ALPHA, corrected
from harness.storage.plan_file import PlannedTask

AVERAGE = "average"

OTHER_EXAMPLES, OTHER_SEEDS = "other examples", "other seeds"


@dataclass(frozen=True)
class ScoreDifference:
    """The scores of a row in two folders, on one task or on the average.

    Attributes:
        scope: a task, or `AVERAGE`.
        tasks: the tasks of the average; otherwise the one task.
        first, second: the mean scores on the board's scale.
        difference: the second minus the first; its interval is not corrected.
        unpaired: why the difference is not paired; empty if it is.
        decimals: how many the first board prints of the score.
        p: the p-value of `difference`, and `p_holm`, `corrected` for all rows of the scope; None with one seed.
    """

    scope: str
    tasks: tuple[str, ...]
    role: Literal["teacher", "constant", "student"]
    label: str
    student: str
    first: float
    second: float
    difference: Estimate
    unpaired: str = ""
    decimals: int = 1
    p: float | None = None
    p_holm: float | None = None

    @property
    def distinguished(self) -> bool | None:
        """Whether the difference is significant; None with one seed."""
        return None if self.p_holm is None else self.p_holm <= ALPHA


@dataclass(frozen=True)
class _Pair:
    """A row of both boards with its samples on the tasks of a scope."""

    row: BoardRow
    first: Sequence[Sample]
    second: Sequence[Sample]
    collapsed: tuple[bool, bool]
    unpaired: tuple[str, ...]
    """Why the samples of each task are not paired; empty strings for those that are."""


def compared_tasks(first: Summary, second: Summary) -> list[PlannedTask]:
    """The tasks that both boards score with the same metric, in the order of the first."""
    others = {task.name: _metric(task) for task in second.plan.tasks}
    return [task for task in first.plan.tasks if others.get(task.name) == _metric(task)]


def compare_scores(first: Summary, second: Summary) -> list[ScoreDifference]:
    """Compare all rows that both boards have, on the average of the common tasks and on each task."""
    tasks = compared_tasks(first, second)
    fingerprints = _fingerprints(first), _fingerprints(second)
    same = {task.name for task in tasks if fingerprints[0].get(task.name) == fingerprints[1].get(task.name)}
    found: list[ScoreDifference] = []
    for scope, names in _scopes(tasks):
        pairs = list(_pairs(first, second, names, same))
        estimated = [
            estimate
            for student in dict.fromkeys(pair.row.student for pair in pairs)
            for estimate in _estimated([pair for pair in pairs if pair.row.student == student])
        ]
        found += _corrected(scope, names, estimated)
    return found


def _metric(task: PlannedTask) -> tuple[object, ...]:
    return task.kind, task.score, task.percent, task.higher_is_better


def _fingerprints(summary: Summary) -> dict[str, str]:
    """Task -> fingerprint of the scored examples, which all results of a board share."""
    return {result.task: result.data_fingerprint for result in summary.results}


def _scopes(tasks: Sequence[PlannedTask]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The average, if there is one, and each task."""
    averaged = [task for task in tasks if not task.diagnostic]
    if len(averaged) > 1 and not why_no_average(averaged):
        yield AVERAGE, tuple(task.name for task in averaged)
    for task in tasks:
        yield task.name, (task.name,)


def _pairs(first: Summary, second: Summary, tasks: Sequence[str], same: set[str]) -> Iterator[_Pair]:
    """The rows of both boards that are complete on all of `tasks`."""
    others = {_identity(row): row for row in second.rows}
    for row in first.rows:
        other = others.get(_identity(row))
        if row.role == "constant" or other is None:
            continue
        cells = [(row.cells[task], other.cells[task]) for task in tasks]
        samples = [(one.sample, two.sample) for one, two in cells if one.sample and two.sample]
        if len(samples) == len(tasks):
            ours, theirs = [one for one, _ in samples], [two for _, two in samples]
            reasons = [_unpaired(task in same, *pair) for task, pair in zip(tasks, samples, strict=True)]
            collapsed = any(one.collapsed for one, _ in cells), any(two.collapsed for _, two in cells)
            yield _Pair(row, ours, theirs, collapsed, tuple(reasons))


def _identity(row: BoardRow) -> tuple[str, str, str]:
    return row.role, row.label, row.student


def _unpaired(same_examples: bool, one: Sample, other: Sample) -> str:
    resampled_alike = one.draws is None or other.draws is None or len(one.draws) == len(other.draws)
    if not same_examples or not resampled_alike:
        return OTHER_EXAMPLES
    return "" if one.seeds == other.seeds else OTHER_SEEDS


def _estimated(pairs: Sequence[_Pair]) -> list[tuple[_Pair, Difference]]:
    """The differences, second minus first, of the rows of one student."""
    paired = [pair for pair in pairs if not any(pair.unpaired) and _seeds(pair) > 1]
    alike = [pair for pair in paired if [s.seeds for s in pair.first] == [s.seeds for s in paired[0].first]]
    estimates = {id(pair): found for pair, found in zip(alike, _of_board(alike), strict=True)}
    return [(pair, estimates.get(id(pair)) or Difference(*[_of_means(pair)] * 2)) for pair in pairs]


def _corrected(
    scope: str, tasks: tuple[str, ...], estimated: Sequence[tuple[_Pair, Difference]]
) -> list[ScoreDifference]:
    """The differences with p-values that are corrected for the number of rows with several seeds."""
    several = [difference for pair, difference in estimated if _seeds(pair) > 1]
    ps = iter(corrected(several))
    return [
        _difference(scope, tasks, pair, difference.stated, next(ps) if _seeds(pair) > 1 else None)
        for pair, difference in estimated
    ]


def _difference(
    scope: str, tasks: tuple[str, ...], pair: _Pair, difference: Estimate, p_holm: float | None
) -> ScoreDifference:
    printed = pair.row.average if scope == AVERAGE else pair.row.cells[scope].score
    return ScoreDifference(
        scope=scope,
        tasks=tasks,
        role=pair.row.role,
        label=pair.row.label,
        student=pair.row.student,
        first=float(np.mean([sample.mean for sample in pair.first])),
        second=float(np.mean([sample.mean for sample in pair.second])),
        difference=difference,
        unpaired=", ".join(dict.fromkeys(reason for reason in pair.unpaired if reason)),
        decimals=printed.decimals if printed else 1,
        p=difference.p if _seeds(pair) > 1 else None,
        p_holm=p_holm,
    )


def _seeds(pair: _Pair) -> int:
    return min(len(sample.seeds) for sample in (*pair.first, *pair.second))


def _of_board(pairs: Sequence[_Pair]) -> list[Difference]:
    """The paired differences, second minus first, with the seed variances moderated over all rows of both boards."""
    count = len(pairs)
    if not count:
        return []
    rows = [*(pair.second for pair in pairs), *(pair.first for pair in pairs)]
    collapsed = [*(pair.collapsed[1] for pair in pairs), *(pair.collapsed[0] for pair in pairs)]
    estimates = pairwise.differences(rows, [index for index, flag in enumerate(collapsed) if flag])
    one, other = np.triu_indices(len(rows), 1)
    place = {pair: number for number, pair in enumerate(zip(one.tolist(), other.tolist(), strict=True))}
    return [estimates[place[index, index + count]] for index in range(count)]


def _of_means(pair: _Pair) -> Estimate:
    """The difference of the means over the tasks, second minus first. Tasks that are not paired are independent."""
    share = 1 / len(pair.first)
    samples, shares = [], []
    for one, other, reason in zip(pair.first, pair.second, pair.unpaired, strict=True):
        if reason:
            samples += [other, one]
            shares += [share, -share]
        else:
            samples.append(other - one)
            shares.append(share)
    return replace(estimate(samples, shares), credit=1.0)  # as of a test
