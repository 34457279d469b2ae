"""Paired differences of the scores of any two rows of a board, task by task and of the average."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from harness.analysis.cell_results import RowName
from harness.analysis.inference import Sample
from harness.analysis.paired_effects import Effect, effect, effects_of_pairs
from harness.analysis.summary import BoardRow, Summary

Pair = tuple[RowName, RowName]


@dataclass(frozen=True)
class RowDifference:
    """The score of the first row of a pair minus that of the second.

    Attributes:
        p: the p-value, corrected for all pairs of the student; None if the board does not compare the pair.
    """

    effect: Effect
    p: float | None = None

    def __neg__(self) -> RowDifference:
        return RowDifference(-self.effect, self.p)


def on_task(rows: Sequence[BoardRow], task: str) -> dict[Pair, RowDifference]:
    """The differences on a task of all pairs of the rows that have a score on it. Intervals are not corrected."""
    samples = {row.name: sample for row in rows if (sample := row.cells[task].sample)}
    return dict(_differences({name: [sample] for name, sample in samples.items()}))


def of_average(summary: Summary, rows: Sequence[BoardRow]) -> dict[Pair, RowDifference]:
    """The differences of the averages of all pairs of rows. Those of one student are the board's comparisons."""
    found = dict(_differences({row.name: row.samples for row in rows if row.average}))
    for pair in summary.comparisons:
        names = [("student", label, pair.student) for label in pair.labels]
        if (names[0], names[1]) in found or (names[1], names[0]) in found:
            difference = pair.difference
            seeds = len(next(row.samples[0].seeds for row in rows if row.name == names[0]))
            known = RowDifference(Effect(difference.mean, difference.low, difference.high, seeds), pair.p)
            if (names[0], names[1]) in found:
                found[names[0], names[1]] = known
            else:
                found[names[1], names[0]] = -known
    return found


def _differences(scores: Mapping[RowName, Sequence[Sample]]) -> Iterator[tuple[Pair, RowDifference]]:
    """Yield the pairs in the order of `scores`, without those whose seeds cannot be paired."""
    groups: dict[tuple[tuple[int, ...], ...], list[RowName]] = {}
    for name, samples in scores.items():
        groups.setdefault(tuple(sample.seeds for sample in samples), []).append(name)
    fast: dict[Pair, Effect] = {}
    for seeds, names in groups.items():
        if all(len(of_task) > 1 for of_task in seeds):
            for (one, other), difference in effects_of_pairs([scores[name] for name in names]).items():
                fast[names[one], names[other]] = difference
    for pair in combinations(scores, 2):
        if pair in fast:
            yield pair, RowDifference(fast[pair])
        elif all(a.pairs_with(b) for a, b in zip(scores[pair[0]], scores[pair[1]], strict=True)):
            yield pair, RowDifference(effect([scores[pair[0]]], [scores[pair[1]]]))
