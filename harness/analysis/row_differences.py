"""The paired differences of the rows of a board: estimated once, and read by every part of a report.

So two rows have the same interval wherever a board states their difference. Between two rows of one student, all pairs
of whose rows are compared, a seed variance that is smaller than the mean of these pairs is moderated (see
`harness.analysis.pairwise`); only rows with scores on all tasks over which the difference is taken count.

All other differences have their own variance. Between rows of two students, or of a student and a teacher, other pairs
are no guide to it: with few pairs, or if all rows of a student share an effect of each seed, the variances of all pairs
are small or large together. If one of the rows has one seed, as most teachers, the difference varies over the seeds of
the other row alone; if both have one, its interval covers the examples alone.

A row whose predictions are missing on a task has no known variance over the examples there. Counting it as 0 would make
its differences the most significant ones of the board, so their error is unknown if other rows of the compared students
(or teachers) have resampled scores on the task. If none has, as with a metric that cannot be resampled, the differences
are over seeds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

from harness.analysis import pairwise
from harness.analysis.cell_results import RowName
from harness.analysis.inference import Estimate, Sample, Scores
from harness.analysis.paired_effects import effect
from harness.analysis.pairwise import Difference

Pair = tuple[RowName, RowName]


@dataclass(frozen=True)
class Family:
    """The differences of all pairs of some rows of one student, which are tested together.

    Attributes:
        differences: (row, other row) -> the first score minus the second; without a known error if either row is in
            `unsampled`.
        unsampled: rows without resampled scores on a task on which others of the family have them.
    """

    differences: Mapping[Pair, Difference]
    unsampled: frozenset[RowName] = frozenset()

    def only(self, rows: Collection[RowName]) -> Family:
        """The family without the differences of other rows. Those that remain are unchanged."""
        kept = {pair: difference for pair, difference in self.differences.items() if {*pair} <= {*rows}}
        return Family(kept, self.unsampled & {*rows})

    def stated(self, row: RowName, other: RowName) -> Estimate:
        """The score of one row minus that of another, in either order."""
        reverse = self.differences.get((other, row))
        return self.differences[row, other].stated if reverse is None else -reverse.stated


def within(rows: Mapping[RowName, Scores], collapsed: Collection[RowName] = ()) -> Family:
    """The differences of all pairs of rows, in the order of ``combinations``.

    Args:
        rows: their scores on the same tasks in the same order, with the same two or more seeds on each.
        collapsed: rows with collapsed seeds, which are excluded from the moderation of variances.
    """
    if len(rows) < 2:
        return Family({})
    places = [place for place, row in enumerate(rows) if row in collapsed]
    estimates = pairwise.differences(list(rows.values()), places)
    unsampled = frozenset(_unsampled(rows))
    differences = {
        pair: difference if unsampled.isdisjoint(pair) else _unknown(difference)
        for pair, difference in zip(combinations(rows, 2), estimates, strict=True)
    }
    return Family(differences, unsampled)


def _unknown(difference: Difference) -> Difference:
    """The difference without a known error."""
    return Difference(*(replace(estimate, over=None, repeated=False) for estimate in difference))


def _unsampled(rows: Mapping[RowName, Scores]) -> Iterator[RowName]:
    """Yield the rows without resampled scores on a task on which others have them."""
    for samples in zip(*rows.values(), strict=True):
        without = [row for row, sample in zip(rows, samples, strict=True) if sample.draws is None]
        if len(without) < len(rows):
            yield from without


@dataclass(frozen=True)
class RowDifferences:
    """The differences of the rows of a board, each estimated when it, or one of its family, is first read.

    Attributes:
        scores: row -> task -> its scores.
        collapsed: row -> the tasks on which its seeds collapsed.
    """

    scores: Mapping[RowName, Mapping[str, Sample]]
    collapsed: Mapping[RowName, Collection[str]] = field(default_factory=dict)
    _scopes: dict[tuple[str, ...], _Scope] = field(default_factory=dict, init=False, repr=False, compare=False)

    def of(self, tasks: Sequence[str], row: RowName, other: RowName) -> Estimate | None:
        """The mean over the tasks of the score of `row` minus that of another row.

        Returns:
            None if one of them has no score on a task, or their seeds cannot be paired.
        """
        return self.mean(tasks, [(row, other)])

    def mean(self, tasks: Sequence[str], pairs: Sequence[Pair]) -> Estimate | None:
        """The mean over one or more pairs of `of`, such as a main effect of a grid.

        Returns:
            None if a row has no score on a task, or seeds cannot be paired.
        """
        scope = self._scope(tasks)
        return scope.of(*pairs[0]) if len(pairs) == 1 else scope.mean(pairs)

    def family(self, tasks: Sequence[str], row: RowName) -> Family | None:
        """The differences of the rows of one student that have the seeds of `row`.

        Returns:
            None if `row` has no score on a task, or one seed, or is no row of a student.
        """
        return self._scope(tasks).family(row)

    def _scope(self, tasks: Sequence[str]) -> _Scope:
        if (key := tuple(tasks)) not in self._scopes:
            rows = {
                row: [of_row[task] for task in key] for row, of_row in self.scores.items() if of_row.keys() >= {*key}
            }
            collapsed = {row for row, where in self.collapsed.items() if not {*where}.isdisjoint(key)}
            self._scopes[key] = _Scope(rows, collapsed)
        return self._scopes[key]


class _Scope:
    """The differences over the same tasks, of the rows that have scores on all of them."""

    def __init__(self, rows: Mapping[RowName, Scores], collapsed: Collection[RowName]) -> None:
        self.rows, self.collapsed = rows, collapsed
        groups: dict[tuple[object, ...], dict[RowName, Scores]] = {}
        for row, scores in rows.items():
            role, _, student = row
            groups.setdefault((role, student, *(sample.seeds for sample in scores)), {})[row] = scores
        self.groups = list(groups.values())
        self.place = {row: place for place, group in enumerate(self.groups) for row in group}
        self.families: dict[int, Family] = {}
        self.unsampled: dict[frozenset[int], frozenset[RowName]] = {}
        self.alone: dict[Pair, Estimate | None] = {}

    def of(self, row: RowName, other: RowName) -> Estimate | None:
        if (family := self.family(row)) and self.place[row] == self.place.get(other):
            return family.stated(row, other)
        if (reverse := self.alone.get((other, row))) is not None:
            return -reverse
        if (row, other) not in self.alone:
            self.alone[row, other] = self.mean([(row, other)])
        return self.alone[row, other]

    def family(self, row: RowName) -> Family | None:
        scores = self.rows.get(row, ())
        if not scores or row[0] != "student" or any(len(sample.seeds) == 1 for sample in scores):
            return None
        if (place := self.place[row]) not in self.families:
            self.families[place] = within(self.groups[place], self.collapsed)
        return self.families[place]

    def mean(self, pairs: Sequence[Pair]) -> Estimate | None:
        """The mean of differences with its own variance."""
        rows = {row for pair in pairs for row in pair}
        if not rows <= self.rows.keys():
            return None
        ours, theirs = ([self.rows[pair[side]] for pair in pairs] for side in (0, 1))
        if not all(map(_pair, ours, theirs)):
            return None
        places = frozenset(self.place[row] for row in rows)
        if places not in self.unsampled:
            compared = {row: scores for row, scores in self.rows.items() if self.place[row] in places}
            self.unsampled[places] = frozenset(_unsampled(compared))
        found = effect(ours, theirs)
        return found if self.unsampled[places].isdisjoint(rows) else replace(found, over=None, repeated=False)


def _pair(ours: Scores, theirs: Scores) -> bool:
    """Whether seeds can be paired."""
    return all(one.pairs_with(other) for one, other in zip(ours, theirs, strict=True))
