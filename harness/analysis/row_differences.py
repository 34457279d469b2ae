"""The paired difference of any two rows of a board: estimated once, and read by every part of a report.

So two rows have the same interval wherever a board states their difference. Its seed variance is moderated (see
`harness.analysis.pairwise`) by the differences of the same kind: of two rows of one student those of all pairs of its
rows, otherwise those of all rows of the one student from all rows of the other. These are the rows with scores on all
tasks over which the difference is taken.

If one of the rows has one seed, as most teachers, there is nothing to moderate: the difference varies over the seeds
like the score of the other row, and has an interval like that. If both have one, it covers the examples alone.

A row whose predictions are missing on a task has no known variance over the examples there. Counting it as 0 would make
its differences the most significant ones of the board, so their error is unknown. If no row has resampled scores on the
task, as with a metric that cannot be resampled, all differences are over seeds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product

from harness.analysis import pairwise
from harness.analysis.cell_results import RowName
from harness.analysis.inference import Estimate, Sample, Scores
from harness.analysis.paired_effects import effect

Pair = tuple[RowName, RowName]


@dataclass(frozen=True)
class Family:
    """Differences whose seed variances are moderated together.

    Attributes:
        differences: (row, other row) -> the first score minus the second; without a known error if either row is in
            `unsampled`.
        unsampled: rows without resampled scores on a task on which others of the family have them.
    """

    differences: Mapping[Pair, Estimate]
    unsampled: frozenset[RowName] = frozenset()

    def only(self, rows: Collection[RowName]) -> Family:
        """The family without the differences of other rows. Those that remain are unchanged."""
        kept = {pair: difference for pair, difference in self.differences.items() if {*pair} <= {*rows}}
        return Family(kept, self.unsampled & {*rows})


def within(rows: Mapping[RowName, Scores], collapsed: Collection[RowName] = ()) -> Family:
    """The differences of all pairs of rows, in the order of ``combinations``.

    Args:
        rows: their scores on the same tasks in the same order, with the same two or more seeds on each.
        collapsed: rows with collapsed seeds, which are excluded from the moderation of variances.
    """
    if len(rows) < 2:
        return Family({})
    estimates = pairwise.differences(list(rows.values()), _places(rows, collapsed))
    return _family(rows, list(combinations(rows, 2)), estimates)


def between(
    rows: Mapping[RowName, Scores], others: Mapping[RowName, Scores], collapsed: Collection[RowName] = ()
) -> Family:
    """The differences of all `rows` from all `others`, in the order of ``product``. Arguments are those of `within`."""
    both = {**rows, **others}
    estimates = pairwise.differences_between(list(rows.values()), list(others.values()), _places(both, collapsed))
    return _family(both, list(product(rows, others)), estimates)


def _places(rows: Mapping[RowName, Scores], collapsed: Collection[RowName]) -> list[int]:
    return [place for place, row in enumerate(rows) if row in collapsed]


def _family(rows: Mapping[RowName, Scores], pairs: Sequence[Pair], estimates: Sequence[Estimate]) -> Family:
    unsampled = frozenset(_unsampled(rows))
    differences = {
        pair: difference if unsampled.isdisjoint(pair) else replace(difference, over=None)
        for pair, difference in zip(pairs, estimates, strict=True)
    }
    return Family(differences, unsampled)


def _unsampled(rows: Mapping[RowName, Scores]) -> Iterator[RowName]:
    """Yield the rows without resampled scores on a task on which others have them."""
    for samples in zip(*rows.values(), strict=True):
        without = [row for row, sample in zip(rows, samples, strict=True) if sample.draws is None]
        if len(without) < len(rows):
            yield from without


@dataclass(frozen=True)
class RowDifferences:
    """The differences of any two rows of a board, each estimated when it, or one of its family, is first read.

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
        scope = self._scope(tasks)
        if (family := scope.family(row, other)) is None:
            return scope.unmoderated(row, other)
        reverse = family.differences.get((other, row))
        return family.differences[row, other] if reverse is None else -reverse

    def family(self, tasks: Sequence[str], row: RowName, other: RowName) -> Family | None:
        """The differences that are moderated together with that of two rows, or of the rows of one student if `other`
        is `row`.

        Returns:
            None if one of them has no score on a task, one seed, or other seeds than the other.
        """
        return self._scope(tasks).family(row, other)

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
        self.families: dict[tuple[int, ...], Family] = {}
        self.alone: dict[Pair, Estimate] = {}

    def family(self, row: RowName, other: RowName) -> Family | None:
        if not {row, other} <= self.rows.keys() or not _same_several_seeds(self.rows[row], self.rows[other]):
            return None
        places = tuple(sorted((self.place[row], self.place[other])))
        if places not in self.families:
            one, two = (self.groups[place] for place in places)
            family = within(one, self.collapsed) if one is two else between(one, two, self.collapsed)
            self.families[places] = family
        return self.families[places]

    def unmoderated(self, row: RowName, other: RowName) -> Estimate | None:
        if (other, row) in self.alone:
            return -self.alone[other, row]
        if not {row, other} <= self.rows.keys():
            return None
        ours, theirs = self.rows[row], self.rows[other]
        if not all(one.pairs_with(two) for one, two in zip(ours, theirs, strict=True)):
            return None
        if (row, other) not in self.alone:
            self.alone[row, other] = effect([ours], [theirs])
        return self.alone[row, other]


def _same_several_seeds(ours: Scores, theirs: Scores) -> bool:
    return all(len(one.seeds) > 1 and one.seeds == other.seeds for one, other in zip(ours, theirs, strict=True))
