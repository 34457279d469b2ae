"""Top groups: the methods that do not differ significantly from the best, by paired tests of the suite average.

Rows are compared with rows of the same student. The best row is selected by its score, so any pair of rows might be the
pair of the best and another one. Therefore all pairs of a student form one family, and Holm's method corrects their
p-values (Holm, 1979, Scandinavian Journal of Statistics 6(2)). Comparing the best of R rows only with the R - 1 others
would find differences between equal methods on more than 5 % of boards.

The family is tested with other seed variances than those of the stated intervals (see `harness.analysis.pairwise`). So
that no pair differs significantly while its interval includes 0, a corrected p-value is at least that of the interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.analysis.inference import LEVEL, Estimate, p_values
from harness.analysis.pairwise import Difference
from harness.analysis.row_differences import Family

ALPHA = 1 - LEVEL
"""Family-wise error rate: the largest probability that any two equal methods of a student are called different."""

REPEATED = "the difference is the same with every seed"
"""Why a difference has no known error (`harness.analysis.inference.of_difference`)."""


@dataclass(frozen=True)
class Comparison:
    """Two rows of one student.

    Attributes:
        difference: the average of the first label minus that of the second; its interval is not corrected. Without a
            known error if the pair is not tested.
        p: the p-value, `corrected` for the pairs of the student; None if the pair is not tested: `untested` says why.
        unsampled: its labels without resampled scores that other rows have; if there are any, it is not tested.
    """

    student: str
    labels: tuple[str, str]
    difference: Estimate
    p: float | None
    unsampled: tuple[str, ...] = ()

    @property
    def untested(self) -> str:
        """Why it is not tested; empty if it is."""
        if self.p is not None:
            return ""
        return REPEATED if self.difference.repeated else f"{' and '.join(self.unsampled)} without usable predictions"

    @property
    def distinguished(self) -> bool:
        """Whether the difference is significant at `ALPHA`."""
        return self.p is not None and self.p <= ALPHA


def compare(family: Family) -> list[Comparison]:
    """Correct the p-values of all differences between rows of one student."""
    return [
        Comparison(
            student=pair[0][2],
            labels=(pair[0][1], pair[1][1]),
            difference=difference.stated,
            p=p,
            unsampled=tuple(row[1] for row in pair if row in family.unsampled),
        )
        for (pair, difference), p in zip(
            family.differences.items(), corrected(list(family.differences.values())), strict=True
        )
    ]


def corrected(family: Sequence[Difference]) -> list[float | None]:
    """The p-values of all differences of a family: those of the tests, corrected by Holm's method, but at least the
    error rate at which the stated interval ends at 0. None: the error of the difference is unknown.
    """
    stated = p_values([difference.stated for difference in family])
    tested = p_values([difference.tested for difference in family])
    # Pairs that are not tested stay in the family: deleting a file must not make other differences significant.
    of_family = holm([1.0 if p is None else p for p in tested])
    return [None if p is None else max(p, p_holm) for p, p_holm in zip(stated, of_family, strict=True)]


def holm(ps: Sequence[float]) -> list[float]:
    """Correct p-values by Holm's method, in their order: a corrected p is at most 0.05 where Holm rejects at 0.05."""
    order = sorted(range(len(ps)), key=lambda index: ps[index])
    corrected = [1.0] * len(ps)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        corrected[index] = largest
    return corrected


def top_group(best: str, comparisons: Sequence[Comparison]) -> set[str]:
    """The best label and all labels that do not differ significantly from it."""
    with_best = [pair for pair in comparisons if best in pair.labels]
    return {best} | {label for pair in with_best if not pair.distinguished for label in pair.labels}
