"""Which methods cannot be told from the best: paired tests of the suite average, corrected for how many there are.

Rows are compared with those of the same student, as the board asks which method is best for it. The best is known only
from the scores, so any two rows of a student might be "the best and another": all pairs are one family, whose p-values
Holm's method corrects (Holm, 1979, Scandinavian Journal of Statistics 6(2)). Comparing the best of R rows with the R -
1 others alone would call methods different that are equal in more than 5 of 100 boards.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from harness.analysis.inference import LEVEL, Estimate, Sample, p_values
from harness.analysis.pairwise import differences

ALPHA = 1 - LEVEL
"""The chance, at most, that a student's methods which are equal are told apart anywhere."""


@dataclass(frozen=True)
class Comparison:
    """Two labels on one student: `difference` is the first's average less the second's; its interval is not corrected.

    `p`: corrected for the number of pairs of the student.
    """

    student: str
    labels: tuple[str, str]
    difference: Estimate
    p: float

    @property
    def distinguished(self) -> bool:
        return self.p <= ALPHA


def compare(student: str, rows: Mapping[str, Sequence[Sample]], collapsed: Collection[str] = ()) -> list[Comparison]:
    """Every pair of labels, whose samples are of the same tasks in the same order. Nothing where there is one seed,
    which says nothing of a method. `collapsed` labels take no part in the variance that all rows share."""
    pairs = list(combinations(rows, 2))
    if not pairs or any(len(sample.values) < 2 for samples in rows.values() for sample in samples):
        return []
    found = differences(list(rows.values()), [place for place, label in enumerate(rows) if label in collapsed])
    corrected = holm([1.0 if p is None else p for p in p_values(found)])
    return [Comparison(student, pair, each, p) for pair, each, p in zip(pairs, found, corrected, strict=True)]


def holm(ps: Sequence[float]) -> list[float]:
    """The corrected p-values, in the order given: each is at most 0.05 where Holm's method rejects at 0.05."""
    order = sorted(range(len(ps)), key=lambda index: ps[index])
    corrected = [1.0] * len(ps)
    largest = 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - place) * ps[index]))
        corrected[index] = largest
    return corrected


def top_group(best: str, comparisons: Sequence[Comparison]) -> set[str]:
    """The best label and those that are not told from it."""
    with_best = [each for each in comparisons if best in each.labels]
    return {best} | {label for each in with_best if not each.distinguished for label in each.labels}
